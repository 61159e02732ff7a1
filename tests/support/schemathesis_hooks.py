"""What schemathesis cannot make up from a schema: files that hold rows, so that links lead on from an upload."""

from __future__ import annotations

from typing import Any

import schemathesis

_ROWS = b'{"prompt": "%d", "completion": "volume_up"}\n{"prompt": "il fait nuit", "completion": "set_lights"}\n'
_STATE = {"uploads": 0}


@schemathesis.hook  # type: ignore[untyped-decorator,unused-ignore]  # it is not installed where types are checked
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Two uploads of three hold rows, whatever was made up."""
    if case.method.upper() == "POST" and case.path == "/api/datasets":
        _STATE["uploads"] += 1
        if _STATE["uploads"] % 3:
            case.media_type, case.body = "application/octet-stream", _ROWS % _STATE["uploads"]
