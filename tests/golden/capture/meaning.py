"""What a remoting frame means, decoded from protocol knowledge alone (see ../README.md for the shape of the answer)."""

import ipaddress
import json
import struct
import zlib

LANGUAGES = ["JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST", "NODE_JS"]
TEXT_LIMIT = 8 * 1024
V1, V2 = -626843481, -626843477
BORN_HOST_V6, STORE_HOST_V6 = 0x10, 0x20
RECORDS_IN_ANSWER = {11, 361, 200050, 33, 12}
RECORD_IN_REQUEST = {39}
BATCH = 320
REGISTER = 103


class Cursor:
    """Reads big-endian values off the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise ValueError(f"{n} bytes wanted at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def left(self):
        return len(self.data) - self.at


def printable(data):
    """The text of some bytes, or None when they are not text for people (line breaks and tabs are)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if all(c.isprintable() or c in "\n\r\t" for c in text) else None


def header_of(frame):
    """Header members and body of a frame."""
    cursor = Cursor(frame)
    length = cursor.number("i")
    word = cursor.number("I")
    if length != len(frame) - 4:
        raise ValueError("length word does not match")
    raw = cursor.take(word & 0xFFFFFF)
    body = cursor.take(cursor.left())
    kind = word >> 24
    if kind == 0:
        return "json", json_header(raw), len(raw), body
    if kind == 1:
        return "binary", binary_header(raw), len(raw), body
    raise ValueError(f"serialize type {kind}")


def json_header(raw):
    header = json.loads(raw)
    return {
        "code": header["code"],
        "flag": header["flag"],
        "language": header["language"],
        "version": header["version"],
        "opaque": header["opaque"],
        "remark": header.get("remark") or None,
        "ext": header.get("extFields"),
    }


def binary_header(raw):
    cursor = Cursor(raw)
    code, language, version, opaque, flag = (cursor.number(form) for form in "hbhii")
    remark = cursor.take(cursor.number("i")).decode("utf-8") or None
    block = Cursor(cursor.take(cursor.number("i")))
    ext = {}
    while block.left():
        key = block.take(block.number("h")).decode("utf-8")
        ext[key] = block.take(block.number("i")).decode("utf-8")
    if cursor.left():
        raise ValueError("bytes after the header")
    return {"code": code, "flag": flag, "language": LANGUAGES[language], "version": version, "opaque": opaque, "remark": remark, "ext": ext}


def properties_of(raw):
    found = {}
    for pair in raw.decode("utf-8").split("\x02"):
        key, one, value = pair.partition("\x01")
        if one:
            found[key] = value
    return found


def host(cursor, v6):
    address = ipaddress.ip_address(cursor.take(16 if v6 else 4))
    port = cursor.number("i")
    return f"[{address}]:{port}" if v6 else f"{address}:{port}"


def record(cursor):
    start = cursor.at
    total, magic, crc, queue, flag = (cursor.number("i") for _ in range(5))
    if magic not in (V1, V2):
        raise ValueError(f"magic {magic}")
    queue_offset, physical = cursor.number("q"), cursor.number("q")
    sys_flag, born = cursor.number("i"), cursor.number("q")
    born_host = host(cursor, sys_flag & BORN_HOST_V6)
    stored = cursor.number("q")
    store_host = host(cursor, sys_flag & STORE_HOST_V6)
    again, prepared = cursor.number("i"), cursor.number("q")
    body = cursor.take(cursor.number("i"))
    topic = cursor.take(cursor.number("b" if magic == V1 else "h")).decode("utf-8")
    properties = properties_of(cursor.take(cursor.number("h")))
    if cursor.at - start != total:
        raise ValueError("record length does not match")
    meaning = {
        "total_size": total, "magic": magic, "body_crc": crc, "queue_id": queue, "flag": flag, "queue_offset": queue_offset,
        "physical_offset": physical, "sys_flag": sys_flag, "born_timestamp": born, "born_host": born_host, "store_timestamp": stored,
        "store_host": store_host, "reconsume_times": again, "prepared_transaction_offset": prepared, "body_len": len(body),
        "topic": topic, "properties": properties,
    }
    if len(body) <= TEXT_LIMIT and (text := printable(body)) is not None:
        meaning["body_text"] = text
    return meaning


def records_of(body):
    cursor, found = Cursor(body), []
    while cursor.left():
        found.append(record(cursor))
    return found


def batch_of(body):
    cursor, found = Cursor(body), []
    while cursor.left():
        start = cursor.at
        total, magic, crc, flag = (cursor.number("i") for _ in range(4))
        inner = cursor.take(cursor.number("i"))
        properties = properties_of(cursor.take(cursor.number("h")))
        if cursor.at - start != total:
            raise ValueError("entry length does not match")
        entry = {"flag": flag, "body_len": len(inner), "body_crc32": zlib.crc32(inner), "properties": properties}
        if (text := printable(inner)) is not None:
            entry["body_text"] = text
        found.append(entry)
    return found


def registration_of(plain):
    """The compact form of a broker's registration: the data version, a line of text for each topic, filter servers."""
    cursor = Cursor(plain)
    version = json.loads(cursor.take(cursor.number("i")))
    topics = [cursor.take(cursor.number("i")).decode("utf-8") for _ in range(cursor.number("i"))]
    filters = json.loads(cursor.take(cursor.number("i")))
    return {"data_version": version, "topics": topics, "filter_servers": filters, "rest_len": cursor.left()}


def meaning(frame, request_code, request_name, client, sender):
    """The whole answer. request_code is the true code of the request (of the one answered, for a response)."""
    spelling, header, header_len, body = header_of(frame)
    told = {"client": client, "from": sender, "request_code": request_code, "request_name": request_name, "spelling": spelling}
    told |= header
    told |= {"frame_len": len(frame), "header_len": header_len, "body_len": len(body), "body_crc32": zlib.crc32(body)}
    is_response = header["flag"] & 1
    if body and len(body) <= TEXT_LIMIT and (text := printable(body)) is not None:
        told["body_text"] = text
        try:
            told["body_json"] = json.loads(text)
        except ValueError:
            pass
    if body and (request_code in RECORDS_IN_ANSWER and is_response and header["code"] == 0 or request_code in RECORD_IN_REQUEST and not is_response):
        told["records"] = records_of(body)
    if request_code == REGISTER and not is_response and not body.startswith(b"{"):
        told["registration"] = registration_of(zlib.decompress(body))
    if request_code == BATCH and not is_response:
        told["batch"] = batch_of(body)
    return told
