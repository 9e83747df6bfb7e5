# Importing much of the standard library, hashing, compressing, regular expressions, time zones.
import bz2, collections, csv, datetime, decimal, difflib, email, fractions, glob, gzip, hashlib, heapq, html, http.client
import importlib, io, ipaddress, itertools, json, locale, logging, lzma, random, re, secrets, ssl, string, tarfile, textwrap
import unicodedata, unittest, urllib.parse, uuid, xml.etree.ElementTree, zipfile, zlib, zoneinfo
import sys

data = b"bastide " * 10000
for module in (bz2, gzip, lzma, zlib):
    print(module.__name__, module.decompress(module.compress(data)) == data)
print(hashlib.sha256(data).hexdigest(), hashlib.blake2b(data).hexdigest()[:16])
random.seed(5)
print(random.random(), sorted(random.sample(range(100), 5)))
print(json.dumps({"b": [1, 2.5, None], "a": "ä"}, sort_keys=True), re.findall(r"\d+", "a1b22"))
print(decimal.Decimal(1) / 7, fractions.Fraction(3, 9), 2**200)
print(datetime.datetime(2020, 6, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).isoformat())
print(ssl.OPENSSL_VERSION.split()[0], len(uuid.uuid4().hex), len(sys.modules) > 150)
print(sys.flags.hash_randomization, sys.stdin.isatty(), sys.getfilesystemencoding())
print(open("/proc/self/cmdline", "rb").read().split(b"\0")[0])
print(any("libc" in line for line in open("/proc/self/maps")), [l.split()[0] for l in open("/proc/self/status")][:1])
