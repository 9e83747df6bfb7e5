#!/usr/bin/python3
"""Checks the crates: which of ours may use which (DESIGN.md section 2), and every licence.

Arrows point one way: libos -> pal ABI <- backends; tools -> the backend's outer half. Licences that
are allowed stand in deny.toml, for cargo-deny too.
"""

import json
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Who may depend on whom, build and test dependencies included.
MAY_USE = {
    "bastide-pal": set(),
    "bastide-abi": set(),
    "bastide-base": {"bastide-pal"},
    "bastide-gcm": set(),
    # The format of sealed volumes knows neither Linux nor a host.
    "bastide-volume": {"bastide-gcm"},
    "bastide-libos": {"bastide-abi", "bastide-base", "bastide-pal", "bastide-volume"},
    # A platform for tests, and the tests that run the kernel on it.
    "bastide-hostile": {"bastide-base", "bastide-libos", "bastide-pal", "bastide-volume"},
    # The inner half shares the unsafe floor (user-memory access, locks), not the kernel.
    "bastide-pal-linux": {"bastide-base", "bastide-pal"},
    "bastide-outer": {"bastide-pal", "bastide-pal-linux"},
    "bastide-image": {"bastide-base", "bastide-libos", "bastide-pal", "bastide-pal-linux"},
    "bastide-manifest": {"bastide-pal"},
    "bastide": {"bastide-manifest", "bastide-outer", "bastide-pal", "bastide-volume"},
    "bastide-tests": set(),
    "bastide-benchmarks": {"bastide-tests", "bastide-volume"},
}


def metadata(manifest):
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--manifest-path", str(manifest)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def licence_ok(expression, allowed):
    """Whether a choice of allowed licences satisfies an SPDX expression, parentheses aside."""
    if expression is None:
        return False
    expression = expression.replace("/", " OR ").replace("(", "").replace(")", "")
    return all(
        any(choice.strip() in allowed for choice in part.split(" OR "))
        for part in expression.split(" AND ")
    )


def main():
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"])
    problems, seen = [], set()
    for manifest in (ROOT / "Cargo.toml", ROOT / "pal/linux/image/Cargo.toml"):
        for package in metadata(manifest)["packages"]:
            name, licence = package["name"], package["license"]
            seen.add((name, package["version"]))
            if not licence_ok(licence, allowed):
                problems.append(f"{name} {package['version']}: licence {licence} is not in deny.toml")
            if package["source"] is not None:
                continue
            ours = {d["name"] for d in package["dependencies"] if d["name"].startswith("bastide")}
            if name not in MAY_USE:
                problems.append(f"{name}: say in {sys.argv[0]} what it may use")
            elif wrong := ours - MAY_USE[name]:
                problems.append(f"{name} must not use {', '.join(sorted(wrong))}")
    for problem in problems:
        print(problem)
    print(f"crates: {len(seen)} checked, {len(problems)} problems")
    sys.exit(bool(problems))


main()
