"""The steps of a construction. Each step is a datatrove pipeline step.

Each step writes to its own folder in the work folder:

- `list`: the items of all sources in shards, in random order. A picture and all forgeries of it are in one shard;
- `margins`: for each source, the margin around the face with which its pictures are cut;
- `faces`: the aligned faces with their raw pixels;
- `plan`: for each face, its split or the reason why it is dropped; and the forgeries to make from it;
- `rows`: the rows of the dataset: forged, measured, annotated and with questions.

Each task of `faces` and `rows` makes one shard; the other steps have one task. Every step but `margins` also writes
tables of what was dropped and why. A shard appears completely or not at all. Its bytes depend only on the recipe and
the sources.
"""
