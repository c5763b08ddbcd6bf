"""The facts of a pack from a TOML file, for packs that no profile knows.

In:  `chemistry, cells_in_series, rated_ah, reference_ah, ocv, bms_capacity_start_ah, soc_is` and, where known,
     `current_gain_sigma_pct, resistance_slope_k`.
Out: `core.packs.PackFacts` and the quantity that the table's SoC is.
Refuses with PackFileError, naming key and reason.
"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from packbox.core.packs import Chemistry, PackFacts
from packbox.core.soh.weigh import GAIN_FLOOR
from packbox.ports import PackboxError

SOC_QUANTITY: Final = {"bms": "soc_bms_pct", "displayed": "soc_shown_pct"}


class PackFileError(PackboxError):
    """A pack file cannot be used. The text names file, key and reason."""


def _small(written: object) -> object:
    """Chemistries are abbreviations: most people write them in capitals."""
    return written.lower() if isinstance(written, str) else written


class _PackTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    id: str = ""
    chemistry: Annotated[Chemistry, BeforeValidator(_small)]
    cells_in_series: Annotated[int, Field(ge=1, le=1000)]
    rated_ah: Annotated[float, Field(gt=0, le=10_000)]
    reference_ah: Annotated[float, Field(gt=0, le=10_000)] | None = None
    reference_source: str = "the pack file"
    ocv: list[tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(gt=0, lt=6)]]] = []
    bms_capacity_start_ah: Annotated[float, Field(gt=0, le=10_000)] | None = None
    current_gain_sigma_pct: Annotated[float, Field(ge=0, le=20)] = 100.0 * GAIN_FLOOR
    resistance_slope_k: Annotated[float, Field(ge=0, le=10_000)] | None = None
    soc_is: Literal["displayed", "bms"] = "displayed"

    @model_validator(mode="after")
    def _rising(self) -> _PackTable:
        if self.ocv and (len(self.ocv) < 2 or self.ocv[-1][0] - self.ocv[0][0] < 50):
            raise ValueError("ocv: must span at least half of the scale; SoC is in percent, 0 to 100")
        if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(self.ocv)):
            raise ValueError("ocv: SoC must rise and volts may not fall")
        return self


def read_pack_file(path: Path) -> tuple[PackFacts, str]:
    """Facts, and what the SoC column of a table holds. Raises PackFileError."""
    try:
        written = _PackTable.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as cause:
        raise PackFileError(f"{path}: {cause.strerror}") from cause
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise PackFileError(f"{path}: not TOML: {cause}") from cause
    except ValidationError as cause:
        first = cause.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackFileError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from cause
    facts = PackFacts(
        id=written.id or path.stem,
        chemistry=written.chemistry,
        cells_in_series=written.cells_in_series,
        reference_ah=written.reference_ah or written.rated_ah,
        reference_source=written.reference_source if written.reference_ah else "rated capacity of the pack file",
        rated_ah=written.rated_ah,
        ocv=tuple(written.ocv),
        ocv_source="the pack file" if written.ocv else None,
        current_gain_sigma_pct=written.current_gain_sigma_pct,
        current_gain_source="the pack file",
        resistance_slope_k=written.resistance_slope_k,
        resistance_slope_source=None if written.resistance_slope_k is None else "the pack file",
        capacity_start_ah=written.bms_capacity_start_ah,
    )
    return facts, SOC_QUANTITY[written.soc_is]
