"""Any log of predictions and clicks, read in bounded memory and counted for a report."""

from monitoring.log_report.columns import LogColumns
from monitoring.log_report.reading import LogReader, read_log
from monitoring.log_report.tally import LogTally

__all__ = ["LogColumns", "LogReader", "LogTally", "read_log"]
