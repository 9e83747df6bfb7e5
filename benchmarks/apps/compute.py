"""Computes for about a second and says how many milliseconds that took. 1 is for quick."""

import json
import re
import sys
import time


def primes(limit):
    sieve = bytearray([1]) * (limit + 1)
    for i in range(2, int(limit**0.5) + 1):
        if sieve[i]:
            sieve[i * i :: i] = bytes(len(range(i * i, limit + 1, i)))
    return sum(sieve) - 2


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def words(count):
    text = " ".join(f"word{i % 1000}" for i in range(count))
    seen = {}
    for word in re.findall(r"\w+", text):
        seen[word] = seen.get(word, 0) + 1
    return json.loads(json.dumps(sorted(seen.items())))


start = time.perf_counter()
for _ in range(1 if sys.argv[1] == "1" else 8):
    primes(300_000)
    fibonacci(20)
    words(50_000)
    sorted(str(i * 7919 % 100_003) for i in range(50_000))
print((time.perf_counter() - start) * 1000)
