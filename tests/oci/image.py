# SPDX-License-Identifier: Apache-2.0
"""A container image of a few files, as the archive (OCI image layout) that `ctr images import` and `podman load` take."""
import hashlib
import io
import json
import tarfile


def build_image(path, name, files, entrypoint):
    """Write the image NAME with FILES {path in the image: path here} to PATH."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for inside, outside in files.items():
            tar.add(outside, arcname=inside.lstrip("/"), filter=as_root)
        for folder in ("tmp", "proc", "sys", "dev", "etc"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777 if folder == "tmp" else 0o755
            tar.addfile(entry)
    blobs = {}

    def add(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    layer_entry = add(layer.getvalue(), "layer.v1.tar")
    config = add(json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": entrypoint},
                             "rootfs": {"type": "layers", "diff_ids": [layer_entry["digest"]]}}).encode(),
                 "config.v1+json")
    manifest = add(json.dumps({"schemaVersion": 2, "config": config, "layers": [layer_entry]}).encode(),
                   "manifest.v1+json")
    manifest["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    blobs["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    blobs["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(path, "w") as tar:
        for blob, data in blobs.items():
            entry = tarfile.TarInfo(blob)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def as_root(entry):
    entry.uid = entry.gid = 0
    return entry
