"""The checks, one file each; every file here is collected into the table by `droplab.doctor`.

A file holds `CODE`, the row of the check, and a function for each way in which it is found:
`reading(module)` for the source of a file, `running(exam)` for passes of a model, `watching(loop)`
for a training loop. Each yields findings. No file imports torch when it is imported, so that
reading works without it; what runs a model asks the exam or the loop.
"""
