"""Write the report: the assignment's questions answered, all detectors compared, from what runs left on disk:

python make_report.py
python make_report.py --check

Reads the records in out/, the figures in figures/ and the data sets' cards; computes nothing that takes long. Writes
out/report.html, a single file with its figures inside, and out/report.pdf if there is a Chromium or Chrome. --check
writes nothing: it lists the lines of a stored report whose numbers the records no longer give; exit status 1 if there
are any. Figures are not compared.
"""

import argparse
import sys
from pathlib import Path

import options
from common import CHECKPOINT_DIR, FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.errors import UserError
from forensics.reporting import page, printing, report
from forensics.reporting.album import Album
from forensics.reporting.evidence import Evidence
from forensics.running import starting


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    parser.add_argument('--records', default=OUTPUT_DIR, metavar='FOLDER', help='(default: %(default)s)')
    parser.add_argument('-o', '--output', metavar='FILE', help=f'the page (default: {OUTPUT_DIR}/report.html)')
    parser.add_argument(
        '--width', type=options.positive, default=1100, help='of its figures (default: %(default)s pixels)'
    )
    parser.add_argument('--no-pdf', action='store_true', help='write the page alone')
    parser.add_argument('--check', action='store_true', help='compare the stored page with the records')
    options.add_data_root(parser)
    args = parser.parse_args(argv)
    args.output = Path(args.output or Path(OUTPUT_DIR) / 'report.html')
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    options.use_data_root(args)
    evidence = Evidence(args.records, CHECKPOINT_DIR)
    album = Album(FIGURES_DIR, None if args.check else args.width, evidence)
    text = report.build(evidence, album)
    for reason in evidence.broken.values():
        print(f'skipped: {reason}', file=sys.stderr)
    if args.check:
        return check(args.output, text)
    write(args.output, text, pdf=not args.no_pdf)
    return 0


def write(path: Path, text: str, pdf: bool) -> None:
    with records.atomic_path(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    print(f'Wrote {path} ({len(text) / 1e6:.1f} MB)')
    if not pdf:
        return
    browser = printing.find_browser()
    if browser is None:
        print('No PDF: there is no Chromium or Chrome here. Open the page in any browser and print it.')
        return
    printing.print_page(browser, path, path.with_suffix('.pdf'))
    print(f'Wrote {path.with_suffix(".pdf")}')


def check(path: Path, now: str) -> int:
    """Print what has changed; 1 if anything has."""
    if not path.is_file():
        raise UserError(f'No report {path}. Make it with `python make_report.py`.')
    stored = path.read_text(encoding='utf-8', errors='replace')
    changes = page.changes(stored, now)
    for line in changes:
        print(line)
    if not changes:
        print(f'{path}: every number in its text is what the records give. Figures were not compared.')
    return 1 if changes else 0


if __name__ == '__main__':
    sys.exit(starting.run(main))
