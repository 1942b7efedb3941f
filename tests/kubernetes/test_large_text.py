# SPDX-License-Identifier: Apache-2.0
"""
A server with 62 MiB of text in the cluster: thirty pods share one copy, and how long a pod takes from its creation until its server is ready,
with hugexec and without it, in turn. Without hugexec means without the plugin, so that the engine's question to it counts, too. What counts is
the ratio within a pair, one after the other on the same node: a slow machine slows down both. No start begins while the node still ends the
pod before it: that would slow down whichever follows a pod that takes longer to end. And text has to be in place where it can be: a copy of
62 MiB is another price, and the policy's own choice.
"""
import datetime
import random
import re
import statistics
import time

import pytest

from lib.process import wait_for

pytest.importorskip("grpc", reason="python3-grpcio is not installed")
pytest.importorskip("google.protobuf", reason="python3-protobuf is not installed")

import cluster as cluster_module
from nri_node import has_large_folios, policy_of, text_of
from pods import NEEDS, start, wait_running

pytestmark = NEEDS

PAIRS, PODS, MOST, RESAMPLES, TEXT_MIB, SETTLE_S = 50, 30, 1.1, 2000, 62, 0.5
MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paired")
    made = cluster_module.Cluster(folder, TEXT_MIB)
    try:
        made.make_namespace("shop")
        yield made
    finally:
        made.close()


def texts(cluster):
    """(Pss, bytes of huge pages of the page cache) of each pod's server."""
    return [text_of(cluster.node.host_pid(pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")))
            for pod in cluster.pods("shop")]


def test_thirty_pods_share_one_text_from_the_first_on(cluster, tmp_path):
    """The image was unpacked a moment ago, and no container has run from it."""
    if not has_large_folios(tmp_path, cluster.node.program):
        pytest.skip("this filesystem and kernel have no large folios")
    cluster.node.policy(policy_of({"via": "hook"}, backing=["file"], file_timeout="60s", hold_timeout="120s"))
    names = [f"share-{number}" for number in range(PODS)]
    for some in (names[:1], names[1:]):
        for name in some:
            start(cluster, name)
        wait_running(cluster, *some)
        cluster.wait(lambda: all(huge >= (TEXT_MIB - 2) * MIB for _, huge in texts(cluster)), "huge text in place")
    assert sum(pss for pss, _ in texts(cluster)) <= MOST * (TEXT_MIB + 2) * MIB
    cluster.call("DELETE", "/api/v1/namespaces/shop/pods", {"gracePeriodSeconds": 0})
    cluster.wait_gone("shop")


def ready_after(cluster, name):
    """Seconds from the creation of a pod until its server says so, by the time that the engine has put to that line."""
    began = time.time()
    start(cluster, name)
    uid = cluster.call("GET", f"/api/v1/namespaces/shop/pods/{name}")["metadata"]["uid"]
    log = cluster.folder / "pod-logs" / f"shop_{name}_{uid}" / "server" / "0.log"
    line = wait_for(lambda: log.exists() and re.search(r"^(\S+) stdout F ready", log.read_text(), re.MULTILINE), seconds=180, what=f"pod {name}")
    at = datetime.datetime.fromisoformat(line[1]).timestamp()
    assert at > began, "the engine's clock is another"
    return at - began


def end(cluster, name):
    """The API server forgets a pod without a grace period before the node has ended it."""
    cluster.call("DELETE", f"/api/v1/namespaces/shop/pods/{name}", {"gracePeriodSeconds": 0})
    cluster.wait_gone("shop")
    cluster.wait(lambda: cluster.node.daemon.ctr("tasks", "list", "-q").stdout == "", "the end of its processes")
    time.sleep(SETTLE_S)


def one(cluster, name, with_hugexec, backing):
    running = cluster.node.plugin.poll() is None
    if with_hugexec and not running:
        cluster.node.start()
    elif running and not with_hugexec:
        cluster.node.end()
    took = ready_after(cluster, name)
    backings = {part["backing"] for process in cluster.node.status() for part in process["objects"]}
    assert backings == ({backing} if with_hugexec else set()), f"{name}: {cluster.node.status()}"
    end(cluster, name)
    return took


def interval(ratios):
    """The bootstrap's, of the median, 95 %."""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]


@pytest.mark.timeout(7200)
def test_a_pod_is_ready_as_soon_as_without_hugexec(cluster, tmp_path, capsys):
    """It fails if the ratio is larger beyond doubt; what it is, is printed."""
    backing = "file" if has_large_folios(tmp_path, cluster.node.program) else "thp"
    cluster.node.policy(policy_of({"via": "hook"}, backing=[backing], file_timeout="60s", hold_timeout="120s"))
    for with_hugexec in (True, False):
        one(cluster, f"first-{with_hugexec}".lower(), with_hugexec, backing)  # the image's files are on the disk, and in the page cache
    took = {True: [], False: []}
    for pair in range(PAIRS):
        for with_hugexec in (True, False) if pair % 2 else (False, True):
            took[with_hugexec].append(one(cluster, f"pair-{pair}-{with_hugexec}".lower(), with_hugexec, backing))
    ratios = [mine / plain for mine, plain in zip(took[True], took[False], strict=True)]
    low, high = interval(ratios)
    with capsys.disabled():
        print(f"\npod start to ready over {PAIRS} pairs: with hugexec {statistics.median(took[True]):.3f} s, without {statistics.median(took[False]):.3f} s, "
              f"median of the ratios {statistics.median(ratios):.3f} (95 %: {low:.3f} to {high:.3f})")
    assert low <= MOST, ratios
