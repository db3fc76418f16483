#!/usr/bin/env python3
"""choose.py <frames file> <directory>: picks one frame of each kind from what proxy.py kept and writes .hex and .json (see ../README.md)."""

import json
import pathlib
import sys

from meaning import header_of, meaning

NAMES = {
    10: "send_message", 11: "pull_message", 12: "query_message", 14: "query_consumer_offset", 15: "update_consumer_offset",
    17: "update_and_create_topic", 29: "search_offset_by_timestamp", 30: "get_max_offset", 31: "get_min_offset",
    33: "view_message_by_id", 34: "heart_beat", 35: "unregister_client", 36: "consumer_send_msg_back", 37: "end_transaction",
    38: "get_consumer_list_by_group", 39: "check_transaction_state", 40: "notify_consumer_ids_changed", 41: "lock_batch_mq",
    42: "unlock_batch_mq", 46: "check_client_config", 103: "register_broker", 104: "unregister_broker", 105: "get_routeinfo_by_topic",
    310: "send_message_v2", 320: "send_batch_message", 322: "query_data_version", 324: "send_reply_message", 325: "send_reply_message_v2",
    326: "push_reply_message_to_client", 361: "lite_pull_message", 400: "query_assignment", 200050: "pop_message", 200051: "ack_message",
    200053: "change_message_invisibletime",
}
ANSWERS = {
    1: "system_error", 3: "not_supported", 13: "message_illegal", 16: "no_permission", 17: "topic_not_exist", 19: "pull_not_found",
    20: "pull_retry_immediately", 21: "pull_offset_moved", 22: "query_not_found", 23: "subscription_parse_failed",
    24: "subscription_not_exist", 25: "subscription_not_latest", 26: "group_not_exist", 29: "invalid_parameter", 208: "no_message",
    209: "polling_full", 210: "polling_timeout",
}
# A connection is known by the version its requests carry; all else (our own hand-written requests) is left out.
CLIENTS = {("JAVA", 409): "java498", ("JAVA", 479): "java533", ("GO", 317): "go212"}
# Of what went over IPv6 only these are kept, as a variant of their own: the rest looks the same.
ONLY_WITH_HOSTS = {10, 310, 11, 33, 105}
BROKER = "broker533"
REGISTERS = {103, 104, 322}
TRUNCATED = 200050 & ~0xFFFF


def true_code(header, spelling):
    """Codes above 32767 lose their upper half in a binary header."""
    code = header["code"]
    return code + TRUNCATED if spelling == "binary" and code + TRUNCATED in NAMES else code


def connections(path):
    """Frames by connection, decoded, in the order they passed."""
    found = {}
    with open(path) as lines:
        for line in lines:
            one = json.loads(line)
            frame = bytes.fromhex(one["hex"])
            try:
                spelling, header, _, body = header_of(frame)
            except (ValueError, KeyError, UnicodeDecodeError) as why:
                print(f"connection {one['conn']}: {why}", file=sys.stderr)
                continue
            found.setdefault((one["conn"], one["host"], one["port"]), []).append((one["way"], spelling, header, frame, body))
    return found


def client_of(frames):
    requests = [header for way, _, header, _, _ in frames if way == "up" and not header["flag"] & 1]
    if any(header["code"] in REGISTERS for header in requests):
        return BROKER
    kinds = {CLIENTS.get((header["language"], header["version"])) for header in requests}
    return kinds.pop() if len(kinds) == 1 else None


def variant_of(code, header, body):
    """What sets frames of one code apart enough to keep both."""
    if header["flag"] & 1:
        return ANSWERS.get(header["code"], f"code_{header['code']}") if header["code"] else ""
    ext = header["ext"] or {}
    parts = []
    if code == 34:
        consumers = json.loads(body).get("consumerDataSet") or []
        kinds = {(c["consumeType"] + "_" + c["messageModel"]).lower() for c in consumers}
        parts.append(min(kinds).replace("consume_", "") if kinds else "producer")
    if code in (10, 310):
        properties = ext.get("properties") or ext.get("i") or ""
        names = {pair.split("\x01")[0] for pair in properties.split("\x02")}
        for name, word in (("TRAN_MSG", "half"), ("DELAY", "delay"), ("CORRELATION_ID", "request")):
            if name in names:
                parts.append(word)
        if int(ext.get("sysFlag") or ext.get("f") or 0) & 1:
            parts.append("compressed")
    if code == 103:
        # The Apache broker 5.3.3 says compressed=false over a compressed body too (and its name server then fails on it).
        parts.append("full" if body.count(b'"topicName"') > 1 else "one_topic" if body.startswith(b"{") else "compressed")
    if code == 37:
        parts.append({"8": "commit", "12": "rollback"}.get(ext["commitOrRollback"], "unknown"))
        if ext.get("fromTransactionCheck") == "true":
            parts.append("checked")
    if header["flag"] & 2:
        parts.append("oneway")
    return "_".join(parts)


def rank(header, body):
    """The fullest header, the body that says most, with a body rather than without, and then the smallest."""
    filled = sum(1 for value in (header["ext"] or {}).values() if value)
    # A heartbeat is the better the more tags it names, a subscription being the hard part of it.
    tags = body.count(b"||") if header["code"] == 34 else 0
    return (-filled, -tags, not body, len(body))


def candidates(frames, client, server_port_is_namesrv, six):
    asked = {}
    for way, spelling, header, frame, body in frames:
        response = header["flag"] & 1
        if response:
            code = asked.get(("down" if way == "up" else "up", header["opaque"]))
        else:
            code = true_code(header, spelling)
            asked[(way, header["opaque"])] = code
        if code not in NAMES:
            continue
        sender = "client" if way == "up" else ("namesrv" if server_port_is_namesrv else "broker")
        variant = variant_of(code, header, body)
        if six and code in ONLY_WITH_HOSTS and (body or code in (310, 10)) and not (response and header["code"]):
            variant = f"{variant}_v6".lstrip("_")
        elif six:
            continue
        key = (client, code, variant, "resp" if response else "req", spelling)
        yield key, sender, header, frame, body


def main():
    frames_file, to = sys.argv[1], pathlib.Path(sys.argv[2])
    namesrv_port = int(sys.argv[3])
    best = {}
    for (_, host, port), frames in connections(frames_file).items():
        client = client_of(frames)
        if client is None:
            continue
        for key, sender, header, frame, body in candidates(frames, client, port == namesrv_port, ":" in host):
            if key not in best or rank(header, body) < best[key][0]:
                best[key] = (rank(header, body), sender, frame)
    for old in list(to.glob("*.hex")) + list(to.glob("*-*.json")):
        old.unlink()
    for (client, code, variant, way, spelling), (_, sender, frame) in sorted(best.items()):
        name = NAMES[code] + (f"+{variant}" if variant else "")
        stem = to / f"{client}-{name}-{way}-{spelling}"
        text = frame.hex()
        stem.with_suffix(".hex").write_text("".join(text[i : i + 128] + "\n" for i in range(0, len(text), 128)))
        told = meaning(frame, code, NAMES[code].upper(), client, sender)
        stem.with_suffix(".json").write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(best)} frames")


if __name__ == "__main__":
    main()
