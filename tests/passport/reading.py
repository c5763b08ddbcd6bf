"""What a file tells whoever opens it, as text: some shapes are compressed, so their bytes hide what they say."""

from __future__ import annotations

import io
import json

import pypdfium2
from pyarrow import parquet  # type: ignore[import-untyped]  # it ships no types


def text_of(name: str, data: bytes) -> str:
    """`name`: of the format."""
    if name == "parquet":
        return json.dumps(parquet.read_table(io.BytesIO(data)).to_pylist(), ensure_ascii=False)
    if data.startswith(b"%PDF"):
        return pdf_text(data)
    return data.decode()


def pdf_text(data: bytes) -> str:
    with pypdfium2.PdfDocument(data) as document:
        pages = [document[number].get_textpage().get_text_bounded() for number in range(len(document))]
        return "\n".join([str(document.get_metadata_dict()), *pages])
