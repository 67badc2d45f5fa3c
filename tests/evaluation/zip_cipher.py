"""Write a zip with PKWARE's old encryption, which Python's zipfile reads but does not write (APPNOTE 6.1)."""

import io
import struct
import zipfile
import zlib
from pathlib import Path


def crc_step(crc: int, byte: int) -> int:
    """The raw CRC-32 of one byte more, without zlib's complements."""
    return zlib.crc32(bytes([byte]), crc ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


class Cipher:
    def __init__(self, password: bytes):
        self.keys = [0x12345678, 0x23456789, 0x34567890]
        for byte in password:
            self.update(byte)

    def update(self, byte: int) -> None:
        k = self.keys
        k[0] = crc_step(k[0], byte)
        k[1] = ((k[1] + (k[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        k[2] = crc_step(k[2], k[1] >> 24)

    def encrypt(self, data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            t = (self.keys[2] | 2) & 0xFFFF
            out.append(byte ^ (((t * (t ^ 1)) >> 8) & 0xFF))
            self.update(byte)
        return bytes(out)


def encrypted_zip(path: Path, members: dict[str, bytes], password: str) -> None:
    """Write `members` (stored, encrypted) to a zip at `path`."""
    local, central = io.BytesIO(), io.BytesIO()
    for name, data in members.items():
        crc, offset, raw = zlib.crc32(data), local.tell(), name.encode()
        body = Cipher(password.encode()).encrypt(bytes(11) + bytes([crc >> 24]) + data)
        fields = (20, 1, 0, 0, 33, crc, len(body), len(data), len(raw), 0)
        local.write(struct.pack("<4sHHHHHIIIHH", b"PK\3\4", *fields) + raw + body)
        central.write(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, *fields, 0, 0, 0, 0, offset) + raw)
    directory = central.getvalue()
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), local.tell(), 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(local.getvalue() + directory + end)
    with zipfile.ZipFile(path) as opened:
        assert [opened.read(name, pwd=password.encode()) for name in members] == list(members.values())
