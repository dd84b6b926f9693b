"""Runs pkilint over a folder of DER: NAME.crt as certificates, NAME.crl as revocation lists.

Prints every finding at error level and above, and exits with 1 if there is one. Where it finds nothing it prints how much it
looked at.
"""

import contextlib
import io
import pathlib
import sys

from pkilint.bin import lint_crl, lint_pkix_cert

LINTERS = {
    ".crt": lambda path: lint_pkix_cert.main(["lint", "-s", "ERROR", path]),
    ".crl": lambda path: lint_crl.main(["lint", "-t", "CRL", "-p", "PKIX", "-s", "ERROR", path]),
}


def main():
    looked_at, failed = 0, False
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            findings = LINTERS[path.suffix](str(path))
        looked_at += 1
        if findings:
            failed = True
            print(f"{path.name}: {findings} findings\n{said.getvalue()}")
    if not failed:
        print(f"looked at {looked_at}, found nothing")
    sys.exit(1 if failed else 0)


main()
