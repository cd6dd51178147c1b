"""Qdrant Edge, the embedded engine, in a process of its own.

Its Python binding holds the interpreter's lock in every call, so the shards live in one process for each data folder
(`server`), which all others reach over a unix socket (`client`). Import what you need from there: importing this
package loads nothing.
"""
