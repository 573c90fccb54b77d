"""Reads tables as the tests say: a command as JSON on each line of standard input, an answer on each of the output."""

import datetime
import json
import sys
import urllib.parse

import redis
from lakemill_lookup import LookupTable


def part(typed):
    (kind, value), = typed.items()
    return {"string": str, "int": int, "bool": bool, "date": datetime.date.fromisoformat}[kind](value)


def millis(instant):
    return int(instant.timestamp() * 1000)


def place(command):
    location, ca = command["location"], command.get("ca")
    if command.get("cluster"):
        return redis.RedisCluster.from_url(location, **({} if ca is None else {"ssl_ca_certs": ca}))
    if command.get("via") == "client":
        url = urllib.parse.urlsplit(location)
        return redis.Redis(
            host=url.hostname, port=url.port, username=urllib.parse.unquote(url.username),
            password=urllib.parse.unquote(url.password), ssl=True, ssl_ca_certs=ca)
    return location if ca is None else f"{location}?ssl_ca_certs={urllib.parse.quote(ca)}"


def answer(table, command):
    do = command["do"]
    if do == "get":
        values = table.get_many_bytes([tuple(map(part, key)) for key in command["keys"]])
        return {"values": [None if value is None else value.decode() for value in values]}
    if do == "metadata":
        told = table.metadata
        return {
            "generation": told.generation, "interval": told.interval, "keys": told.keys, "ttl_secs": told.ttl_secs,
            "model_version": told.model_version, "interval_end": millis(told.interval_end),
            "published_at": millis(told.published_at), "age": table.age() // datetime.timedelta(milliseconds=1),
            "columns": [column.name for column in told.key + told.values],
        }
    raise ValueError(do)


def main():
    table = None
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "open":
                table = LookupTable(
                    place(command), command["table"], prefix=command["prefix"],
                    check_secs=command["check_millis"] / 1000)
                said = {}
            elif command["do"] == "close":
                table.close()
                said = {}
            else:
                said = answer(table, command)
        except Exception as error:
            said = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps(said), flush=True)


main()
