# SPDX-License-Identifier: Apache-2.0
"""ELF programs made by hand, which no linker would make: each ends with status 9 (or STATUS) at once, if it runs at all."""
import struct

FIXED, MOVABLE = 2, 3  # ET_EXEC, ET_DYN


def elf64(segments, phnum=None, shoff=0, shnum=0, status=9, kind=FIXED, base=0x400000, entry=None, align=4096, interpreter=""):
    """Of these segments: (type, flags, offset, address, bytes in the file, in memory). Its first instruction lies behind the
    program headers, which the segment of the text has to map at BASE; or at ENTRY, where INTERPRETER runs instead of it."""
    code = 64 + 56 * (len(segments) + bool(interpreter))
    if interpreter:
        segments = [(3, 4, code + len(exits(status)), 0, len(interpreter) + 1, 0), *segments]
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, 62, 1, base + code if entry is None else entry, 64, shoff, 0, 64,
                         56, len(segments) if phnum is None else phnum, 64, shnum, 0)
    body = b"".join(struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, in_file, in_memory, align)
                    for kind, flags, offset, address, in_file, in_memory in segments)
    return header + body + exits(status) + (interpreter.encode() + b"\0" if interpreter else b"")


def elf32(text_bytes, status=9):
    """A program of a 32-bit processor with so much text."""
    header = struct.pack("<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0x400054, 52, 0, 0, 52, 32, 1, 40, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 0, 0x400000, 0x400000, text_bytes, text_bytes, 5, 4096) + exits32(status)


def exits(status):
    return b"\xbf" + struct.pack("<I", status) + bytes.fromhex("b83c000000" "0f05")  # mov edi; mov eax, 60; syscall


def exits32(status):
    return b"\xbb" + struct.pack("<I", status) + bytes.fromhex("b801000000" "cd80")  # mov ebx; mov eax, 1; int 0x80


def write(path, content, size):
    """The program at PATH, which is as large as SIZE, mostly a hole."""
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(size)
    path.chmod(0o755)
