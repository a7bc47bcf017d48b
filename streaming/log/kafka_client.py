"""kafka-python's names that we use; the only module that imports it."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # kafka-python 3.0 reads its schemas with a call that Python 3.11 (alone) deprecates.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka import (  # type: ignore[import-untyped]
        ConsumerRebalanceListener,
        KafkaAdminClient,
        KafkaConsumer,
        KafkaProducer,
        errors,
    )
    from kafka.admin import OffsetSpec  # type: ignore[import-untyped]
    from kafka.coordinator.assignors.range import (  # type: ignore[import-untyped]
        RangePartitionAssignor,
    )
    from kafka.protocol.consumer import IsolationLevel  # type: ignore[import-untyped]
    from kafka.structs import (  # type: ignore[import-untyped]
        ConsumerGroupMetadata,
        OffsetAndMetadata,
    )
    from kafka.structs import TopicPartition as KafkaPartition

KafkaError = errors.KafkaError

__all__ = [
    "ConsumerGroupMetadata",
    "ConsumerRebalanceListener",
    "IsolationLevel",
    "KafkaAdminClient",
    "KafkaConsumer",
    "KafkaError",
    "KafkaPartition",
    "KafkaProducer",
    "OffsetAndMetadata",
    "OffsetSpec",
    "RangePartitionAssignor",
    "errors",
]
