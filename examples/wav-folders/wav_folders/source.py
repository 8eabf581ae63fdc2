"""The source `wav-folders`: <path>/<device>/<class>-<anything>.wav, 16-bit, one class a file."""

import wave

import numpy as np

from fedtier.data.fields import Fields
from fedtier.data.recording import Recording

COMMON_KEYS = ("path", "labels")  # of [data]; [evaluation] takes them from there


def device_recordings(spec, *, node, where):
    fields = Fields(spec, where=where)
    path, labels = fields.path("path"), fields.texts("labels")
    fields.finish()  # refuses any other key
    return [_read(file, labels, fields) for file in sorted((path / node).glob("*.wav"))]


def held_out_recordings(spec, *, where):
    devices = Fields(spec, where=where).texts("devices")
    rest = {key: value for key, value in spec.items() if key != "devices"}
    return [(name, device_recordings(rest, node=name, where=where)) for name in devices]


def _read(file, labels, fields):
    label = file.stem.partition("-")[0]
    if label not in labels:
        raise fields.error("labels", f"has no {label!r}, which {file} begins with")
    with wave.open(str(file)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        samples = samples.reshape(-1, sound.getnchannels()) / np.float32(2**15)
    y = np.full(len(samples), labels.index(label), dtype=np.int64)
    return Recording(key=file.stem, samples=samples, labels=y)
