"""The steps of a construction. Each is a step of a datatrove pipeline, and each of its tasks makes one shard.

In the work folder they leave, each in a folder of its own name:

- `list`: what the sources name, a picture and all forgeries of it in one shard, in an order that mixes people;
- `margins`: of each source how much around a face its pictures show, which is how they are cut;
- `faces`: the aligned faces, with their pixels as they are;
- `plan`: for every face its split or why it is dropped, the forgeries of our own to be made, and of whom;
- `rows`: the rows of the dataset, forged, measured, annotated and asked about.

What is dropped stands beside each shard with its reason. A shard's file appears whole or not at all, and its bytes
follow from the recipe and the sources, not from who makes it or when.
"""
