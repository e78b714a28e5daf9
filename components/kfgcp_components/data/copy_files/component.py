"""The component `copy_files`: files and folders between this machine, Cloud Storage and S3.

A file that the target has already, with the same size and checksum, is not copied again. So a task
that was interrupted continues where it stopped. Each file is complete or absent: a local file gets
its name at the end, and buckets show an object when all of it has arrived. The component compares
checksums after each copy.

| Store | Checksums |
| --- | --- |
| Cloud Storage | `crc32c`, and `md5` unless the object was composed |
| S3 | `sha256` or `md5` as the server gives them; copies of `copy_files` also have all of them in\
 their metadata |
| this machine | computed when they are needed |

The bytes are copied as they are stored. So an object with the content encoding `gzip` stays
compressed, also as a local file. A copy from one bucket to another keeps the content type and
encoding.

A source that ends with a slash is a folder. A file goes into a target that ends with a slash or is
a folder of this machine. Otherwise, the target is the new name of the file.

The task is not cached, because the target may have changed since the last run.

`gs://` needs `pip install 'kfgcp[gcp]'` and `s3://` needs `pip install 'kfgcp[s3]'`. The client
libraries find the credentials.

## Limits

- Files of the target that the source does not have stay there.
- Empty folders are not copied, nor are modes, owners and times of files.
- A relative path is relative to the folder in which the run was submitted. On Vertex AI and
  Kubeflow, use a URL, because the task runs on another machine.
- A copy from one bucket to another goes through the disk of the task, up to 8 files at once.
- A cancelled task removes its unfinished files. A killed task (SIGKILL) can leave one hidden file
  `.NAME.….kfgcp-part` for each thread. Copies ignore these files, so you can delete them.
- A folder behind a symbolic link in a local source is not copied. The log names it.
- The target cannot be the source, a folder in it, or a folder that contains a source folder.
"""

from typing import NamedTuple

from kfp import dsl

from kfgcp_components.caching import without_cache


@without_cache
@dsl.component(base_image="gcp", install_kfp_package=False)  # type: ignore[untyped-decorator]
def copy_files(
    source: str,
    target: str,
    manifest: dsl.Output[dsl.Artifact],
) -> NamedTuple("Outputs", copied=int, skipped=int):  # type: ignore[valid-type]
    """Copy a file or folder between this machine, Cloud Storage and S3.

    Args:
        source: Path, or file://, gs:// or s3:// URL, of a file or folder.
        target: Path or URL of the file or folder to make.
        manifest: The files of the source as JSON, with size and checksum. Metadata: source, target,
            files, bytes.
        copied: Number of files that were copied.
        skipped: Number of files that the target had already.
    """
    from kfgcp_components.data.copy_files.logic import Copy, write_manifest
    from kfgcp_components.logs import log

    copy = Copy(source, target)
    with copy.cancelled_by_signals():
        files = copy.run()
    write_manifest(files, manifest.path)
    copied = sum(file.copied for file in files)
    size = sum(file.size for file in files)
    manifest.metadata.update(source=source, target=target, files=len(files), bytes=size)
    log(f"{copied} files copied, {len(files) - copied} were there already")
    return (copied, len(files) - copied)
