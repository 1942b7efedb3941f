# SPDX-License-Identifier: Apache-2.0
"""What a program shows on a terminal."""
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading


def on_terminal(words, columns=80, **options):
    """The text that WORDS write to a terminal with COLUMNS."""
    main, other = pty.openpty()
    chunks = []

    def read():
        with contextlib.suppress(OSError):  # EIO: nobody has it open any more
            while chunk := os.read(main, 65536):
                chunks.append(chunk)

    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    reader = threading.Thread(target=read)
    reader.start()
    try:
        subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, stdout=other, timeout=120, check=False, **options)
    finally:
        os.close(other)
        reader.join()
        os.close(main)
    return b"".join(chunks).decode().replace("\r\n", "\n")
