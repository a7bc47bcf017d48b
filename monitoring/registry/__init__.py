"""Model versions in MLflow: published from snapshots, judged, promoted, rolled back, served.

Importing a part of this does not import MLflow, which takes seconds: it is when first asked.
"""
