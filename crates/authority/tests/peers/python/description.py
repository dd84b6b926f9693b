"""Holds answers of an authority against its description (OpenAPI 3.1).

    description.py DESCRIPTION EXCHANGES

EXCHANGES has one JSON object on each line: method, path, request (JSON or null), status, type, answer (JSON or null). Of each the path,
the status and the media type must be described, and the answer must be of its schema; so must the request be, where it was granted.
Prints how many it looked at; exits with 1 at the first that is otherwise.
"""

import json
import re
import sys
import urllib.parse

import jsonschema_rs


def pointer(*parts):
    return "#/" + "/".join(urllib.parse.quote(part.replace("~", "~0").replace("/", "~1")) for part in parts)


def main(description_file, exchanges_file):
    with open(description_file) as file:
        description = json.load(file)
    templates = {
        re.compile("^" + re.sub(r"\\\{[a-z]+\\\}", "[^/]+", re.escape(path)) + "$"): path for path in description["paths"]
    }

    def check(what, value, place):
        for error in jsonschema_rs.validator_for({**description, "$ref": place}).iter_errors(value):
            sys.exit(f"{what}: {error.message} at {list(error.instance_path)}")

    looked_at = 0
    with open(exchanges_file) as file:
        for exchange in map(json.loads, file):
            method, path, status = exchange["method"].lower(), exchange["path"].split("?")[0], str(exchange["status"])
            what = f"{method} {path} {status}"
            # A path that is written out goes before one with a parameter.
            found = sorted((template for shape, template in templates.items() if shape.match(path)), key=lambda t: "{" in t)
            if not found or method not in description["paths"][found[0]]:
                sys.exit(f"{what}: is not described")
            operation = description["paths"][found[0]][method]
            if status not in operation["responses"]:
                sys.exit(f"{what}: the status is not described")
            place = pointer("paths", found[0], method, "responses", status)
            response = operation["responses"][status]
            if "$ref" in response:
                place = response["$ref"]
                response = description["components"]["responses"][place.rsplit("/", 1)[1]]
            kind = exchange["type"].split(";")[0]
            if kind not in response["content"]:
                sys.exit(f"{what}: {kind} is not described")
            if exchange["answer"] is not None:
                check(what, exchange["answer"], place + "/" + pointer("content", kind, "schema")[2:])
            if status.startswith("2") and exchange["request"] is not None:
                place = pointer("paths", found[0], method, "requestBody", "content", "application/json", "schema")
                check(f"{what}, request", exchange["request"], place)
            looked_at += 1
    print(looked_at)


main(*sys.argv[1:])
