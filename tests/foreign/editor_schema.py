"""Checks YAML or JSON files by a JSON Schema, as an editor does: python editor_schema.py SCHEMA FILE...

Prints one line for each document that the schema refuses: the file, the field and why. Each LoadTest
is also tried with a misspelt field, which the schema must refuse.
"""

import json
import sys

import jsonschema
import yaml

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Validator = jsonschema.validators.validator_for(schema)
Validator.check_schema(schema)
validator = Validator(schema)

checked = 0
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        documents = [document for document in yaml.safe_load_all(file) if document]
    for document in documents:
        for error in validator.iter_errors(document):
            print(f"{path}: {error.json_path}: {error.message[:200]}")
        if document.get("kind") == "LoadTest":
            checked += 1
            document["spec"]["laod"] = {}
            if validator.is_valid(document):
                print(f"{path}: a misspelt field passes")
print(f"{checked} LoadTests in {len(sys.argv) - 2} files")
