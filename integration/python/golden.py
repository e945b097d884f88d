"""Reads and writes the golden vectors on the standard input with contract.py. Prints a line of JSON for each."""
import datetime, decimal, json, sys, uuid

import contract

NAMES = {"expiry": "ce_expirytime", "traceparent": "traceparent", "tracestate": "tracestate"}


def shown(value, schema, named):
    """A decoded value as the vectors have it: docs/contract.md says how."""
    if isinstance(schema, str) and schema in named:
        return shown(value, named[schema], named)
    if isinstance(schema, list):
        branches = [b for b in schema if b != "null"]
        if value is None or len(branches) > 1:  # the vectors' unions with several branches are of plain types
            return value
        name = branches[0] if isinstance(branches[0], str) else branches[0].get("name")
        value = shown(value, branches[0], named)
        return {name: value} if isinstance(value, dict) else value
    kind = schema if isinstance(schema, str) else schema["type"]
    if isinstance(kind, dict):
        return shown(value, kind, named)
    if kind in ("record", "enum", "fixed"):
        named[schema["name"]] = schema
    if kind == "record":
        return {f["name"]: shown(value[f["name"]], f["type"], named) for f in schema["fields"]}
    if kind == "array":
        return [shown(v, schema["items"], named) for v in value]
    if kind == "map":
        return {k: shown(v, schema["values"], named) for k, v in value.items()}
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="auto" if value.microsecond % 1000 else "milliseconds").replace("+00:00", "Z")
    if isinstance(value, datetime.date):
        return value.isoformat() + "T00:00:00Z"
    if isinstance(value, datetime.time):  # as a Go duration
        return f"{value.hour}h{value.minute}m{value.second + value.microsecond / 1e6:g}s"
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if kind == "fixed":
        return value.hex()
    if isinstance(value, bytes):
        try:
            text = value.decode()
            if text.isprintable():
                return text
        except UnicodeDecodeError:
            pass
        return "0x" + value.hex()
    return value


def refused(value):
    try:
        contract.decode(value)
    except contract.Refused as error:
        return error.reason
    return "accepted"


golden = json.load(sys.stdin)
texts = {s["id"]: s["text"] for s in golden["schemas"]}
for v in golden["vectors"]:
    value = bytes.fromhex(v["value"])
    text = texts[v["schema"]]
    payload, type = contract.decode(value)
    result = {
        "name": v["name"],
        "type": type or "",
        "payload": shown(payload, contract.parse(text), {}),
        "value": contract.encode(text, payload).hex(),
        "cut": sorted({refused(value[:n]) for n in range(1, len(value))}),
        "empty": refused(b""),
        "longer": sorted({refused(value + bytes(n)) for n in range(1, 65)}),
    }
    if "envelope" in v["read"]:
        headers = [(h["name"], bytes.fromhex(h["hex"])) for h in v["headers"]]
        result["read"] = contract.read_headers(headers)
        env = {NAMES.get(k, "ce_" + k): x for k, x in v["read"]["envelope"].items()}
        if "ce_route" in env:
            env["ce_route"] = ",".join(env["ce_route"])
        if "ce_last" in env:
            env["ce_last"] = str(env["ce_last"]).lower()
        result["written"] = contract.write_headers(**env)
    print(json.dumps(result))
