"""ICC profiles (ICC.1:2001-04) made by hand: of RGB, of grey, and of inks."""

import struct

WHITE = (0.9642, 1.0, 0.8249)  # D50
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))


def rgb(primaries=ADOBE_RGB, gamma=563 / 256):
    """A profile of three primaries in XYZ; the default is Adobe RGB (1998)."""
    tags = {b"rgb"[i : i + 1] + b"XYZ": _xyz(primaries[i]) for i in range(3)}
    tags |= {b"rgb"[i : i + 1] + b"TRC": _curve(gamma) for i in range(3)}
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey(gamma):
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": _curve(gamma)})


def inks():
    """Of C, M, Y and K: any of K is black, and cyan alone comes out as a red."""
    table = bytearray()
    for i in range(16):  # the last ink varies fastest
        cyan, *_, black = (i >> (3 - place) & 1 for place in range(4))
        table += bytes((0, 128, 128) if black else (138, 208, 195) if cyan else (255, 128, 128))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    curves = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + curves * 4 + table + curves * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": lut})


def _xyz(values):
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def _profile(kind, space, connection, tags):
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78),
        b"wtpt": _xyz(WHITE),
        **tags,
    }
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", place + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s24s4i48s",
        *(place + len(body), b"none", 0x02400000, kind, space, connection),
        *(bytes(12), b"acsp", bytes(24), 0, *(round(v * 65536) for v in WHITE), bytes(48)),
    )
    return head + table + body
