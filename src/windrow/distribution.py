"""What windrow is called where packages are installed, and its version.

Guarantee: whatever says how to install something takes the name from here; a distribution that is called ``windrow`` is
another project's, a web server. Cost: installed packages are looked up when ``name_clash`` is asked.
"""

__all__ = ["DISTRIBUTION", "install_line", "name_clash"]

DISTRIBUTION = "windrow-data"  # import, command and project are windrow
__version__ = "0.1.0"


def install_line(extra: str) -> str:
    """The command that installs what ``extra`` needs."""
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def name_clash() -> str:
    """What is wrong, and how to mend it, where the other distribution is installed beside ours; else ""."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        ours, other = version(DISTRIBUTION), version("windrow")
    except PackageNotFoundError:
        return ""
    return (
        f"warning: {DISTRIBUTION} {ours} and another project's distribution, windrow {other}, are both installed. They "
        "both own the folder `windrow`, so that the later one has overwritten files of the other. Remove both with pip "
        f"uninstall -y windrow {DISTRIBUTION}, then pip install {DISTRIBUTION}, or pip install . in a clone."
    )
