# SPDX-License-Identifier: Apache-2.0
"""
A small client of the CRI (runtime.v1), the interface by which a kubelet talks to containerd: the few messages that the
tests send, described here as (number, name, type), and spoken over gRPC.
"""
import json

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STRING, INT32, INT64, BOOL = (descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
                              descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
                              descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
                              descriptor_pb2.FieldDescriptorProto.TYPE_BOOL)

# A list is a repeated field. A map is, on the wire, a repeated message of key and value; an enum is an integer.
MESSAGES = {
    "Entry": [(1, "key", STRING), (2, "value", STRING)],
    "Empty": [],
    "PodSandboxMetadata": [(1, "name", STRING), (2, "uid", STRING), (3, "namespace", STRING)],
    "NamespaceOption": [(1, "network", INT32), (2, "pid", INT32), (3, "ipc", INT32)],
    "LinuxSandboxSecurityContext": [(1, "namespace_options", "NamespaceOption"), (6, "privileged", BOOL)],
    "LinuxPodSandboxConfig": [(1, "cgroup_parent", STRING), (2, "security_context", "LinuxSandboxSecurityContext")],
    "PodSandboxConfig": [(1, "metadata", "PodSandboxMetadata"), (2, "hostname", STRING), (3, "log_directory", STRING),
                         (6, "labels", ["Entry"]), (7, "annotations", ["Entry"]), (8, "linux", "LinuxPodSandboxConfig")],
    "RunPodSandboxRequest": [(1, "config", "PodSandboxConfig"), (2, "runtime_handler", STRING)],
    "PodSandboxId": [(1, "pod_sandbox_id", STRING)],
    "ContainerMetadata": [(1, "name", STRING)],
    "ImageSpec": [(1, "image", STRING), (18, "user_specified_image", STRING)],
    "LinuxContainerSecurityContext": [(2, "privileged", BOOL), (3, "namespace_options", "NamespaceOption"),
                                      (8, "readonly_rootfs", BOOL), (11, "no_new_privs", BOOL)],
    "LinuxContainerConfig": [(2, "security_context", "LinuxContainerSecurityContext")],
    "ContainerConfig": [(1, "metadata", "ContainerMetadata"), (2, "image", "ImageSpec"), (3, "command", [STRING]),
                        (9, "labels", ["Entry"]), (10, "annotations", ["Entry"]), (11, "log_path", STRING),
                        (15, "linux", "LinuxContainerConfig")],
    "CreateContainerRequest": [(1, "pod_sandbox_id", STRING), (2, "config", "ContainerConfig"),
                               (3, "sandbox_config", "PodSandboxConfig")],
    "ContainerId": [(1, "container_id", STRING)],
    "StopContainerRequest": [(1, "container_id", STRING), (2, "timeout", INT64)],
    "ContainerStatusRequest": [(1, "container_id", STRING), (2, "verbose", BOOL)],
    "ContainerStatus": [(1, "id", STRING), (3, "state", INT32), (7, "exit_code", INT32)],
    "ContainerStatusResponse": [(1, "status", "ContainerStatus"), (2, "info", ["Entry"])],
}
METHODS = {
    "RunPodSandbox": ("RunPodSandboxRequest", "PodSandboxId"), "StopPodSandbox": ("PodSandboxId", "Empty"),
    "RemovePodSandbox": ("PodSandboxId", "Empty"), "CreateContainer": ("CreateContainerRequest", "ContainerId"),
    "StartContainer": ("ContainerId", "Empty"), "StopContainer": ("StopContainerRequest", "Empty"),
    "RemoveContainer": ("ContainerId", "Empty"),
    "ContainerStatus": ("ContainerStatusRequest", "ContainerStatusResponse"),
}
CONTAINER, NODE = 1, 2  # NamespaceMode: of its own, the host's
RUNNING, EXITED = 1, 2  # ContainerState


def _message_classes():
    proto = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = proto.message_type.add(name=name)
        for number, field_name, kind in fields:
            repeated, kind = isinstance(kind, list), kind[0] if isinstance(kind, list) else kind
            field = message.field.add(name=field_name, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".runtime.v1.{kind}"
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    factory = message_factory.MessageFactory(pool)
    return {name: factory.GetPrototype(pool.FindMessageTypeByName(f"runtime.v1.{name}")) for name in MESSAGES}


CLASSES = _message_classes()


def entries(values):
    """A dict as the CRI's map."""
    return [{"key": key, "value": value} for key, value in values.items()]


class Cri:
    """Calls by name: cri.StartContainer(container_id=...). Every call has a time limit."""

    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix://{socket}")
        grpc.channel_ready_future(self.channel).result(timeout=120)

    def __getattr__(self, method):
        request, response = METHODS[method]
        call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}",
                                        request_serializer=CLASSES[request].SerializeToString,
                                        response_deserializer=CLASSES[response].FromString)
        return lambda **fields: call(CLASSES[request](**fields), timeout=60)

    def close(self):
        self.channel.close()

    def pid(self, container_id):
        """The process id of a container's init, on the host."""
        answer = self.ContainerStatus(container_id=container_id, verbose=True)
        return json.loads({entry.key: entry.value for entry in answer.info}["info"])["pid"]
