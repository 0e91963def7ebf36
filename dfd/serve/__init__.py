"""`dfd serve`: a web page for analysts and a REST service for platforms, over one detector.

The process that listens reads no picture and imports no torch: each file is judged in a worker process.
"""
