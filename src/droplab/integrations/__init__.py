"""Other people's trainers as studies, and their loggers as receivers of rows; one file each.

Nothing here is loaded with droplab: import the one that you want, for example
`from droplab.integrations import lightning`.
"""
