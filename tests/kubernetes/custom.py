"""Custom resources against their published definitions, as strictly as an API server with strict field validation.

What definitions say in CEL (x-kubernetes-validations) is not looked at.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema
import yaml

from tools.crds import path_of

Schema = dict[str, Any]


def validate(item: Mapping[str, Any]) -> None:
    """Raises jsonschema.ValidationError for what the definition does not allow, unknown fields included."""
    jsonschema.Draft202012Validator(_schema_of(item["kind"], item["apiVersion"])).validate(item)


@cache
def _schema_of(kind: str, api_version: str) -> Schema:
    definition = yaml.safe_load(path_of(kind).read_text())["spec"]
    assert definition["names"]["kind"] == kind
    group, _, version = api_version.rpartition("/")
    assert definition["group"] == group
    (found,) = (each for each in definition["versions"] if each["name"] == version and each["served"])
    return _strict(found["schema"]["openAPIV3Schema"])


def _strict(schema: Schema) -> Schema:
    """The same in JSON Schema's words, and without room for fields that it does not name."""
    made = dict(schema)
    if "properties" in schema:
        made["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        made["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        made["items"] = _strict(schema["items"])
    if schema.get("x-kubernetes-int-or-string"):
        made["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in made:
        made["type"] = [made["type"], "null"]
    return made
