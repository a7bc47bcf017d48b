"""A log with the topics of a stream, and its processes run until nothing more comes."""

import time

from streaming.join_process import JoinProcess
from streaming.log import open_log
from streaming.settings import StreamSettings
from streaming.train_process import Trainer


def stream_log(path, settings=None, **options):
    """A log in which the topics are made."""
    log = open_log(str(path), **options)
    log.create_topics((settings or StreamSettings()).topics())
    return log


def join_all(log, settings, report=print):
    """The process after it has joined all there is."""
    process = JoinProcess(log, settings, "join-0", report)
    process.run(until_idle_s=0)
    process.close()
    return process


def learn_all(log, spec, settings, folder, **options):
    """The trainer after it has learned and saved all there is."""
    ways = {"now": time.time, "report": lambda line: None, "pause": time.sleep}
    with Trainer(log, spec, settings, folder, **(ways | options)) as trainer:
        trainer.run(stopping=lambda: False, until_idle_s=0)
    return trainer
