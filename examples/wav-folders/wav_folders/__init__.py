"""Folders of WAV files as a data source of fedtier, with a preprocessing and an augmentation."""
