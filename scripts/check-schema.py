#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges generated documents with Python's jsonschema and compares with the decoder's verdicts.

Usage: check-schema.py SCHEMA CASES

The decoder knows more than a schema can: names that dangle, listeners that collide, durations that
are too long. Such errors it marks as errors of meaning, and these two must hold for each document:

* what the decoder accepts, the schema accepts;
* what the schema accepts, the decoder does not refuse for its shape.
"""

import json
import sys

from jsonschema import Draft202012Validator


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        schema = json.load(file)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    counts = {True: 0, False: 0}
    disagreements = 0
    with open(sys.argv[2], encoding="utf-8") as cases:
        for line in cases:
            case = json.loads(line)
            accepted = validator.is_valid(case["document"])
            counts[accepted] += 1
            if accepted == (case["shapeErrors"] == 0):
                continue
            disagreements += 1
            if disagreements <= 20:
                verdict = "accepts" if accepted else "refuses"
                print(f"seed {case['seed']}: the schema {verdict}; decoder: {case['report'] or 'accepts'}")
                print(f"  {json.dumps(case['document'], ensure_ascii=False)}")
    print(f"schema: {counts[True]} accepted, {counts[False]} refused, {disagreements} disagreements")
    return 1 if disagreements or min(counts.values()) == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
