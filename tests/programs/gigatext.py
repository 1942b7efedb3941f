# SPDX-License-Identifier: Apache-2.0
"""
Write a program with 1 GiB of text that lies at a multiple of 1 GiB: gigatext.py OUTPUT [--head].

It is a file with a hole; --head leaves that to be made elsewhere (truncate it to 1 GiB, let its last byte be Z). It prints
"giga", reads the last byte of its text and exits 0 where that is right. It is for the processor that this runs on, or is told.
"""
import platform
import struct
import sys

GIB = 1 << 30
ADDRESS = 2 * GIB
MESSAGE = b"giga\n"
HEADERS = 64 + 56


LAST = struct.pack("<Q", ADDRESS + GIB - 1)


def code_x86_64():
    message = ADDRESS + HEADERS + 64
    parts = [b"\xb8\x01\x00\x00\x00",  # mov $1, %eax: write
             b"\xbf\x01\x00\x00\x00",  # mov $1, %edi
             b"\x48\xbe" + struct.pack("<Q", message),  # movabs $message, %rsi
             b"\xba" + struct.pack("<I", len(MESSAGE)),  # mov $5, %edx
             b"\x0f\x05",  # syscall
             b"\x48\xb8" + LAST,  # movabs $last, %rax
             b"\x0f\xb6\x38",  # movzbl (%rax), %edi
             b"\x83\xf7" + b"Z",  # xor $'Z', %edi
             b"\xb8\x3c\x00\x00\x00",  # mov $60, %eax: exit
             b"\x0f\x05"]
    return b"".join(parts)


def code_aarch64():
    words = (0xd2800020,  # mov x0, #1
             0x100001e1,  # adr x1, message
             0xd28000a2,  # mov x2, #5
             0xd2800808,  # mov x8, #64: write
             0xd4000001,  # svc #0
             0x580000a1,  # ldr x1, last
             0x39400020,  # ldrb w0, [x1]
             0x51016800,  # sub w0, w0, #'Z'
             0xd2800ba8,  # mov x8, #93: exit
             0xd4000001)  # svc #0
    return struct.pack(f"<{len(words)}I", *words) + LAST


MACHINES = {"x86_64": (62, code_x86_64), "aarch64": (183, code_aarch64)}


def head(machine):
    number, code = MACHINES[machine]
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, number, 1, ADDRESS + HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, ADDRESS, ADDRESS, GIB, GIB, 65536)
    return elf + segment + code().ljust(64, b"\xcc") + MESSAGE


def build(output, whole=True, machine=None):
    with open(output, "wb") as file:
        file.write(head(machine or platform.machine()))
        if whole:
            file.seek(GIB - 1)
            file.write(b"Z")


if __name__ == "__main__":
    build(sys.argv[1], "--head" not in sys.argv)
