# SPDX-License-Identifier: Apache-2.0
"""
The engine's side of NRI, as much as the tests need: a socket on which a plugin registers itself, and calls to it. Messages are written
field by field, so that a test can also send what no engine would.
"""
import pathlib
import socket
import struct

TO_PLUGIN, TO_ENGINE = 1, 2
REQUEST, RESPONSE = 1, 2


def varint(number):
    out = b""
    while number > 0x7f:
        out += bytes([number & 0x7f | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    """Text, bytes (of a message) or a number as field NUMBER."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def entries(number, values):
    return b"".join(field(number, field(1, key) + field(2, value)) for key, value in values.items())


def fields(message):
    """[(number, value)]; what is bytes stays bytes."""
    found, at = [], 0

    def take():
        nonlocal at
        number = shift = 0
        while True:
            byte = message[at]
            at += 1
            number |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return number
    while at < len(message):
        tag = take()
        value = take()
        if tag & 7 == 2:
            value, at = message[at:at + value], at + value
        found.append((tag >> 3, value))
    return found


def every(message, number):
    return [value for found, value in fields(message) if found == number]


def create_container(pod="web-0", namespace="shop", labels=None, pod_annotations=None, name="server", annotations=None, image=None,
                     hooks=b"", more=b""):
    """A CreateContainerRequest."""
    sandbox = field(1, "sandbox") + field(2, pod) + field(4, namespace) + entries(5, labels or {}) + entries(6, pod_annotations or {})
    container = field(1, "0123") + field(3, name) + entries(6, annotations or {}) + hooks + more
    if image:
        container += field(22, field(1, image))
    return field(1, sandbox) + field(2, container)


class Adjustment:
    """What a CreateContainerResponse adds: path and arguments of each hook."""

    def __init__(self, response):
        self.hooks = {}
        for adjust in every(response, 1):
            for hooks in every(adjust, 5):
                for stage, hook in fields(hooks):
                    (path,), args = every(hook, 1), every(hook, 2)
                    self.hooks[{2: "createRuntime", 6: "poststop"}[stage]] = (path.decode(), [arg.decode() for arg in args])

    @property
    def told(self):
        """The options that the hook gets."""
        path, args = self.hooks["createRuntime"]
        assert (args[0], args[-1]) == (pathlib.Path(path).name, "createRuntime")
        assert self.hooks["poststop"] == (path, [args[0], "poststop"])
        return args[1:-1]


class Engine:
    """Listens at PATH, for one plugin at a time."""

    def __init__(self, path):
        self.path = path
        self.connection = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(60)
        self.call = 1

    def accept(self):
        """The next plugin, which asks for nothing but to be registered: (name, index)."""
        if self.connection:
            self.connection.close()
        self.connection, _ = self.listener.accept()
        self.connection.settimeout(60)
        self.streams = {TO_PLUGIN: b"", TO_ENGINE: b""}
        self.call = 1
        call, kind, body = self.receive(TO_ENGINE)
        assert (kind, every(body, 1), every(body, 2)) == (REQUEST, [b"nri.pkg.api.v1alpha1.Runtime"], [b"RegisterPlugin"])
        self.registration = call
        (request,) = every(body, 3)
        return [value.decode() for _, value in fields(request)]

    def register(self):
        """All that an engine does before it calls a plugin for its containers; the events that the plugin asks for."""
        told = self.accept()
        self.send(TO_ENGINE, self.registration, RESPONSE, b"")
        configured = self.ask("Configure", field(2, "fake") + field(3, "1.2"))
        assert self.ask("Synchronize", b"") == b""
        return told, configured

    def refuse(self, message):
        self.accept()
        self.send(TO_ENGINE, self.registration, RESPONSE, field(1, field(1, 3) + field(2, message)))

    def raw(self, data):
        self.connection.sendall(data)

    def frame(self, connection, data):
        self.raw(struct.pack(">II", connection, len(data)) + data)

    def send(self, connection, call, kind, body, piece=1 << 20):
        message = struct.pack(">IIBB", len(body), call, kind, 0) + body
        for at in range(0, len(message), piece):
            self.frame(connection, message[at:at + piece])

    def take(self, count):
        data = b""
        while len(data) < count:
            part = self.connection.recv(count - len(data))
            if not part:
                raise EOFError("the plugin has closed the connection")
            data += part
        return data

    def receive(self, wanted):
        """The next message on connection WANTED: (call, type, body)."""
        while True:
            stream = self.streams[wanted]
            if len(stream) >= 10:
                length, call, kind, _ = struct.unpack(">IIBB", stream[:10])
                if len(stream) >= 10 + length:
                    self.streams[wanted] = stream[10 + length:]
                    return call, kind, stream[10:10 + length]
            connection, length = struct.unpack(">II", self.take(8))
            assert length <= 4096, "more than an engine's reader has room for"
            self.streams[connection] += self.take(length)

    def ask(self, method, request, **how):
        """Call METHOD of the plugin: its response, which has to be one of success."""
        self.call += 2
        body = field(1, "nri.pkg.api.v1alpha1.Plugin") + field(2, method) + field(3, request) + field(4, 2000000000)
        self.send(TO_PLUGIN, self.call, REQUEST, body, **how)
        call, kind, answer = self.receive(TO_PLUGIN)
        assert (call, kind) == (self.call, RESPONSE)
        assert not every(answer, 1), "an error would fail the container"
        return b"".join(every(answer, 2))

    def create(self, **container):
        return Adjustment(self.ask("CreateContainer", create_container(**container)))

    def close(self):
        if self.connection:
            self.connection.close()
        self.listener.close()
        pathlib.Path(self.path).unlink()
