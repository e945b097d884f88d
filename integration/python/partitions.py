"""Prints the partition that a topic's record with a key goes to, for lines of topic and key in hexadecimal."""
import sys

from contract import new_producer

partitions = []
producer = new_producer()
for line in sys.stdin:
    topic, key = line.rstrip("\n").split(" ")
    place = len(partitions)
    partitions.append(None)

    def delivered(error, m, place=place):
        partitions[place] = error or m.partition()

    producer.produce(topic, key=bytes.fromhex(key), value=b"", on_delivery=delivered)
producer.flush(60)
print(*partitions, sep="\n")
