"""Where faces come from: each module reads one kind of source and yields `FaceRecord`s."""
