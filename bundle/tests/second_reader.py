"""A second reader of bundles, written from docs/format.md alone, on Python's own cbor2 and cryptography and on the
zstd program. It shares no line and no library with the first one.

Reads from standard input: the length of a bundle (4 bytes, little-endian) and the bundle, again and again. Arguments
are the trusted public keys in hexadecimal; one signature is enough. Writes a line for each bundle: "yes", or "no" and
why."""

import hashlib
import io
import re
import struct
import subprocess
import sys
import tempfile
import zlib

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ROLES = ["boot", "root", "recovery", "guard"]
NAME = re.compile(r"[!-~]{1,64}\Z")
ZERO32 = bytes(32)


class No(Exception):
    """The bundle is refused."""


def need(condition, why):
    if not condition:
        raise No(why)


def sha256(data):
    return hashlib.sha256(data).digest()


def block_hashes(data):
    return [sha256(data[at : at + 4096].ljust(4096, b"\0")) for at in range(0, len(data), 4096)]


def chunk_digest(data):
    return sha256(b"".join(block_hashes(data)))


def root_hash(data):
    hashes = block_hashes(data)
    while len(hashes) > 1:
        hashes = block_hashes(b"".join(hashes))
    return hashes[0]


def seal(block, keys):
    need(any(block), "empty")
    need(block[:32] == b"RayOS Update release statement\0\0", "magic")
    major, minor = struct.unpack_from("<HH", block, 32)
    need(major == 1, "major version")
    need(struct.unpack_from("<I", block, 4092)[0] == zlib.crc32(block[:4092]), "checksum")
    (count,) = struct.unpack_from("<I", block, 512)
    need(count <= 16, "number of signatures")
    need(not any(block[516:528]) and not any(block[2064:4092]), "must be zero")
    need(not any(block[528 + 96 * count : 2064]), "unused signature")
    statement, good = block[:512], set()
    for at in range(528, 528 + 96 * count, 96):
        key_id, algorithm = block[at : at + 16], struct.unpack_from("<I", block, at + 16)[0]
        need(algorithm == 1 and not any(block[at + 20 : at + 32]), "algorithm")
        if key_id in keys:
            try:
                Ed25519PublicKey.from_public_bytes(keys[key_id]).verify(block[at + 32 : at + 96], statement)
            except InvalidSignature:
                raise No("signature") from None
            good.add(key_id)
    need(good, "signed by no trusted key")
    (flags,) = struct.unpack_from("<I", statement, 36)
    need(flags & 0xFFFC == 0, "flags")
    need(minor > 0 or (flags < 4 and not any(statement[328:])), "reserved")
    rollback, epoch = struct.unpack_from("<QQ", statement, 40)
    need(epoch == 0, "key epoch")
    version = statement[176:240].rstrip(b"\0")
    need(NAME.match(version.decode("latin-1")), "version")
    digest = lambda at: (struct.unpack_from("<Q", statement, at)[0], statement[at + 8 : at + 40])
    for at in (96, 136, 248, 288):
        need((digest(at)[0] > 0) == (digest(at)[1] != ZERO32), "half an image")
    need(1 <= digest(56)[0] <= 1 << 20, "length of the manifest")
    return {
        "rollback_index": rollback,
        "version": version.decode(),
        "manifest": digest(56),
        "boot": digest(96),
        "recovery": digest(136),
        "root": digest(248),
        "links": digest(288),
        "len": struct.unpack_from("<Q", statement, 240)[0],
    }


def number(value, least=0, most=2**64 - 1):
    need(isinstance(value, int) and not isinstance(value, bool) and least <= value <= most, f"number {value!r}")
    return value


def text(value, most):
    need(isinstance(value, str) and len(value.encode()) <= most, "text")
    return value


def name(value):
    need(isinstance(value, str) and NAME.match(value), f"name {value!r}")
    return value


def sha(value):
    need(isinstance(value, bytes) and len(value) == 32, "digest")
    return value


def fields(value, must, may=()):
    need(isinstance(value, dict), "map")
    need(set(must) <= set(value) <= set(must) | set(may), f"fields {sorted(map(str, value))}")
    for key in may:
        need(value.get(key) not in ({}, [], "", b""), f"empty {key}")
    return value


def kinds(value, depth):
    """Only the kinds of values that a manifest may have, nested at most 6 deep."""
    need(depth <= 6, "nesting")
    if isinstance(value, dict):
        need(all(isinstance(key, str) for key in value), "keys")
        for inner in value.values():
            kinds(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            kinds(inner, depth + 1)
    else:
        need(isinstance(value, (bool, str, bytes)) or (isinstance(value, int) and value >= 0), "kind")


def manifest(data, stated):
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream).decode()
        again = cbor2.dumps(value, canonical=True)
    except Exception as error:
        raise No(f"cbor: {error}") from None
    need(stream.tell() == len(data) and again == data, "not deterministic")
    kinds(value, 1)
    fields(
        value,
        ["index", "images", "payload", "version", "compatible", "rollback_index"],
        ["ext", "base", "sbom", "build", "hints", "notes", "created", "min_updater"],
    )
    need(value["version"] == stated["version"], "another version")
    need(number(value["rollback_index"]) == stated["rollback_index"], "another rollback index")
    need(isinstance(value["compatible"], list) and 1 <= len(value["compatible"]) <= 64, "compatible")
    [name(hardware) for hardware in value["compatible"]]
    number(value["payload"])
    for key, inner in fields(value.get("ext", {}), [], value.get("ext", {})).items():
        need(isinstance(inner, bytes) and not name(key).startswith("!"), "extension")
    need(len(value.get("ext", {})) <= 64 and len(value.get("build", {})) <= 256, "too many")
    for key, inner in value.get("build", {}).items():
        name(key), text(inner, 4096)
    if "hints" in value:
        sha(value["hints"])
    text(value.get("notes", "-"), 65536)
    number(value.get("created", 0))
    if "sbom" in value:
        sha(fields(value["sbom"], ["sha256", "media_type"])["sha256"]), name(value["sbom"]["media_type"])
    if "min_updater" in value:
        numbers = re.match(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)\Z", text(value["min_updater"], 64), re.ASCII)
        need(numbers and all(int(part) < 2**32 for part in numbers.groups()), "min_updater")
    index = fields(value["index"], ["frames", "sha256"], ["ranges"])
    sha(index["sha256"])
    need(index.get("ranges") != 0, "no ranges are not encoded")
    number(index.get("ranges", 0), 0, 1 << 20)
    number(index["frames"], 0, 1 << 18)
    images(value, stated)
    return value


def images(value, stated):
    need(isinstance(value["images"], list) and value["images"], "images")
    roles, held = [], {}
    for image in value["images"]:
        fields(image, ["role", "size", "frames", "sha256", "frame_size"])
        need(image["role"] in ROLES, "role")
        roles.append(ROLES.index(image["role"]))
        held[image["role"]] = (number(image["size"], 1), sha(image["sha256"]))
        number(image["frames"], 1)
        need(number(image["frame_size"], 4096, 1 << 22) % 4096 == 0, "frame size")
    need(roles == sorted(set(roles)), "order of the images")
    need(sum(image["frames"] for image in value["images"]) == value["index"]["frames"], "frames of the images")
    for role in ("boot", "recovery"):
        need(held.get(role, (0, ZERO32)) == stated[role], f"another {role} image")
    need(stated["root"][0] in (0, held.get("root", (0, ZERO32))[0]), "another verified root image")
    need(("base" in value) or not value["index"].get("ranges"), "ranges without a base")


def frames(data, value):
    """The entries of the index, checked one by one."""
    entries, at, payload = [], 0, 0
    for image in value["images"]:
        offset, run = 0, None
        for number_in_image in range(image["frames"]):
            kind = data[at]
            length = int.from_bytes(data[at + 1 : at + 4], "little")
            stored, before, argument = struct.unpack_from("<III", data, at + 4)
            digest, short = data[at + 16 : at + 48], data[at + 48 : at + 64]
            most = (1 << 22) if kind == 0 else image["frame_size"]
            need(kind in (0, 1, 2, 3) and 1 <= length <= most, "kind or length")
            last = number_in_image + 1 == image["frames"]
            need(last or length % 4096 == 0, "alignment")
            if kind in (0, 3):
                need(stored == 0 and before == 0 and short == bytes(16), "nothing is stored")
                run = None
            else:
                need(stored == length if kind == 1 else 1 <= stored < length, "stored length")
                need(before == 0 or (run is not None and before % 4096 == 0 and before <= run), "before")
                run = length if before == 0 else run + length
                need(run <= 1 << 22, "length of the run")
            need(kind == 3 or argument == 0, "argument")
            need(kind != 0 or digest == chunk_digest(bytes(length)), "digest of zeroes")
            need(kind != 1 or digest[:16] == short, "two digests of the same bytes")
            first = len(entries) - number_in_image
            if kind == 3:
                need(first <= argument < len(entries), "repeat of what is not there")
                other = entries[argument]
                need(other["kind"] in (1, 2) and (other["len"], other["sha"]) == (length, digest), "repeat")
            entries.append(
                {"kind": kind, "len": length, "stored": stored, "before": before, "argument": argument}
                | {"sha": digest, "short": short, "payload": payload, "offset": offset}
            )
            offset, payload, at = offset + length, payload + stored, at + 64
            need(offset <= image["size"], "more than the image")
        need(offset == image["size"], "less than the image")
    need(payload == value["payload"], "length of the payload")
    return entries


def one_zstd_frame(data, length):
    """Checks the header, and that the frame ends where the bytes do (RFC 8878)."""
    need(len(data) >= 6 and data[:4] == b"\x28\xb5\x2f\xfd", "zstd magic")
    descriptor = data[4]
    need(descriptor & 0x20 and not descriptor & 0x0B, "zstd header")
    size_len = {0: 1, 1: 2, 2: 4, 3: 8}[descriptor >> 6]
    size = int.from_bytes(data[5 : 5 + size_len], "little") + (256 if size_len == 2 else 0)
    need(size == length, "zstd content size")
    at, last = 5 + size_len, 0
    while not last:
        need(at + 3 <= len(data), "zstd block")
        block = int.from_bytes(data[at : at + 3], "little")
        last, kind, block_len = block & 1, block >> 1 & 3, block >> 3
        at += 3 + (1 if kind == 1 else block_len)
    need(at + (4 if descriptor & 4 else 0) == len(data), "zstd frame ends elsewhere")


def unzstd(data, prefix):
    with tempfile.NamedTemporaryFile() as file:
        file.write(prefix)
        file.flush()
        command = ["zstd", "-d", "-c", "-q"] + ([f"--patch-from={file.name}"] if prefix else [])
        done = subprocess.run(command, input=data, capture_output=True, check=False)
    need(done.returncode == 0, "zstd")
    return done.stdout


def check_links(data, stated):
    """Checks the trust links by themselves; none leads from the keys of these tests."""
    length, digest = stated["links"]
    need(length % 4096 == 0 and length <= 12 * 4096, "length of the links")
    links = data[4096 : 4096 + length]
    need(len(links) == length and (not length or sha256(links) == digest), "links")
    for at in range(0, length, 4096):
        link = links[at : at + 4096]
        need(struct.unpack_from("<I", link, 4092)[0] == zlib.crc32(link[:4092]), "checksum of a link")
        (count,) = struct.unpack_from("<I", link, 2080)
        need(count <= 16 and not any(link[2084:2096]) and not any(link[3632:4092]), "link")
        need(not any(link[2096 + 96 * count : 3632]), "unused signature of a link")
        for entry in range(2096, 2096 + 96 * count, 96):
            algorithm = struct.unpack_from("<I", link, entry + 16)[0]
            need(algorithm == 1 and not any(link[entry + 20 : entry + 32]), "algorithm of a link")


def bundle(data, keys):
    need(len(data) >= 4096, "shorter than a seal")
    stated = seal(data[:4096], keys)
    check_links(data, stated)
    length, digest = stated["manifest"]
    manifest_at = 4096 + stated["links"][0]
    index_at = manifest_at + length
    need(index_at <= len(data) and sha256(data[manifest_at:index_at]) == digest, "manifest")
    value = manifest(data[manifest_at:index_at], stated)
    index_len = 64 * value["index"]["frames"] + 16 * value["index"].get("ranges", 0)
    payload_at = index_at + index_len
    need(payload_at <= min(len(data), stated["len"]), "index")
    index = data[index_at:payload_at]
    need(sha256(index) == value["index"]["sha256"], "digest of the index")
    entries = frames(index, value)
    stored = [entry for entry in entries if entry["stored"]]
    hints_len = 5 * sum(-(-entry["len"] // 4096) for entry in stored) if "hints" in value else 0
    hints_at = payload_at + value["payload"]
    need(hints_at + hints_len == stated["len"] == len(data), "length of the bundle")
    payload, at = data[payload_at:hints_at], 0
    for image in value["images"]:
        whole = bytearray()
        for entry in entries[at : at + image["frames"]]:
            whole += content(entry, entries, payload, whole)
        need(sha256(whole) == image["sha256"], "digest of the image")
        if image["role"] == "root" and stated["root"][0]:
            need(root_hash(bytes(whole)) == stated["root"][1], "root hash")
        at += image["frames"]
    need("hints" not in value or sha256(data[hints_at:]) == value["hints"], "digest of the hints")


def content(entry, entries, payload, whole):
    data = payload[entry["payload"] : entry["payload"] + entry["stored"]]
    if entry["kind"] == 0:
        plain = bytes(entry["len"])
    elif entry["kind"] == 3:
        other = entries[entry["argument"]]
        plain = bytes(whole[other["offset"] : other["offset"] + other["len"]])
    else:
        found = chunk_digest(data) if entry["kind"] == 1 else sha256(data)
        need(found[:16] == entry["short"], "digest of stored bytes")
        plain = data
        if entry["kind"] == 2:
            one_zstd_frame(data, entry["len"])
            plain = unzstd(data, bytes(whole[len(whole) - entry["before"] :]) if entry["before"] else b"")
    need(len(plain) == entry["len"] and chunk_digest(plain) == entry["sha"], "digest of the frame")
    return plain


def main():
    keys = {sha256(bytes.fromhex(key))[:16]: bytes.fromhex(key) for key in sys.argv[1:]}
    while header := sys.stdin.buffer.read(4):
        data = sys.stdin.buffer.read(int.from_bytes(header, "little"))
        try:
            bundle(data, keys)
            print("yes", flush=True)
        except No as why:
            print(f"no {why}", flush=True)


main()
