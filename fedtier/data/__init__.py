"""What a device trains on: sources, partitions, preprocessing, augmentation and batches.

A source yields recordings; the split cuts each one in time; preprocessing turns both parts into
examples. ``load.py`` is the way in.
"""
