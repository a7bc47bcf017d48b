"""A joiner that goes on after a restart, all its partitions at once."""

from collections import defaultdict

from streaming.joiner import Joiner


def resumed(settings, committed, *, counting=False):
    """Go on from the metadata of the last commit, by topic and partition."""
    joiner, of_partition = Joiner(settings, counting=counting), defaultdict(dict)
    for (topic, partition), metadata in committed.items():
        of_partition[partition][topic] = metadata
    for partition, metadata in of_partition.items():
        joiner.take_over(partition, metadata)
    return joiner
