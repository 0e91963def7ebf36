"""Run as a program: reads a file from stdin, and writes what c2pa-python says of its manifest as JSON.

It is a process of its own since c2pa is native code that reads strangers' files: what hangs, aborts or
overflows its stack there ends this process alone. It imports nothing of dfd, so that it starts at once.
"""

import io
import json
import sys

_MEMORY = 2 << 30


def main() -> None:
    asked = json.loads(sys.stdin.buffer.readline())
    _bound_memory()
    try:
        import c2pa
    except ImportError:
        print(json.dumps({"missing": True}))
        return
    data = sys.stdin.buffer.read()
    try:
        context = c2pa.Context(settings=c2pa.Settings.from_json(json.dumps(asked["settings"])))
        reader = c2pa.Reader(asked["mime"], io.BytesIO(data), context=context)
        found = json.loads(reader.json())
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__.strip('_')}: {error}"[:500]}))
        return
    label = found.get("active_manifest")
    active = found.get("manifests", {}).get(label, {})
    results = found.get("validation_results", {})
    failures = results.get("activeManifest", {}).get("failure", [])
    ingredients = [
        failure.get("code", "")
        for delta in results.get("ingredientDeltas") or ()
        for failure in delta.get("validationDeltas", {}).get("failure", [])
    ]
    answer = {
        "state": found.get("validation_state") or reader.get_validation_state(),
        "failures": [failure.get("code", "") for failure in failures][:100],
        "ingredient_failures": ingredients[:100],
        "signature": active.get("signature_info") or {},
        "version": c2pa.sdk_version(),
    }
    print(json.dumps(answer))


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))


if __name__ == "__main__":
    main()
