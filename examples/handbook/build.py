"""Makes docs/field-work.pdf and equipment.db: `python build.py`. The same input gives the same files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

HERE = Path(__file__).parent
TITLE = "Field work safety"

# Each section: level, heading, paragraphs. A list of tuples is a table.
MANUAL: list[tuple[int, str, list[str | list[tuple[str, ...]]]]] = [
    (1, "1 Purpose and scope", [
        "This manual is for everyone who installs, repairs or visits a weather station outdoors. It applies to"
        " employees and to contractors alike. When a rule here and a rule of the site's owner differ, the stricter"
        " one counts.",
        "The person responsible for field safety is Oskar Lindqvist. He can stop any visit, at any time, and does not"
        " need to give reasons first.",
    ]),
    (1, "2 Before you leave", [
        "Every visit has a plan. The plan names the site, the people, the route, the hour of return and the person at"
        " the office who waits for your call. That person is your anchor.",
    ]),
    (2, "2.1 Never alone", [
        "Work above two metres, work on water and work in snow is done by two people or more. A single person may visit"
        " a station at ground level, in daylight, with phone coverage.",
    ]),
    (2, "2.2 Weather limits", [
        "A visit is put off when the forecast for the site exceeds one of these limits. The limits are for the whole"
        " time on site, not for the hour of arrival.",
        [
            ("Condition", "Work on the ground", "Work on a mast"),
            ("Mean wind", "17 m/s", "10 m/s"),
            ("Gusts", "24 m/s", "14 m/s"),
            ("Temperature", "-25 to 38 C", "-10 to 32 C"),
            ("Thunderstorm", "none within 15 km", "none within 30 km"),
        ],
    ]),
    (2, "2.3 What to take along", [
        "Take the yellow case from the workshop. It holds a first-aid kit, a satellite messenger, two headlamps, a"
        " thermal blanket and a whistle. The batteries of the messenger are changed on the first working day of every"
        " month. Sign the case out and in again; a case that is not back after 14 days is looked for.",
    ]),
    (1, "3 On site", [
        "Call your anchor on arrival and every two hours after that. If a call is 30 minutes late, the anchor tries to"
        " reach you. If it is 60 minutes late, the anchor calls the rescue service and then Oskar Lindqvist, in this"
        " order.",
    ]),
    (2, "3.1 Masts and ladders", [
        "Masts are climbed with a full harness and two lanyards, one of which is attached at every moment. Harnesses"
        " are inspected by an outside expert every twelve months; the date is on the red tag. Nobody climbs a mast with"
        " a harness whose tag has expired, not even once, not even a short one.",
        "Helmets are worn by everyone within ten metres of a mast on which somebody works.",
    ]),
    (2, "3.2 Electricity", [
        "Stations run on 12 volts and are harmless. Sites with mains power are not: switch off, lock the switch with"
        " your own padlock, and test with the two-pole tester from the case. Only people with the certificate for low"
        " voltage open a mains cabinet. At the time of writing these are Oskar Lindqvist, Priya Ramanathan"
        " and Jonas Weidling.",
    ]),
    (2, "3.3 Animals and neighbours", [
        "Leave gates as you found them. Before entering a pasture with cattle, call the farmer; the number is in the"
        " site record. Nests on a mast are left alone from March to July, and the station is repaired in August.",
    ]),
    (1, "4 After the visit", [
        "Call your anchor when you are back on a public road. Write the visit record on the same day: what you did,"
        " what you replaced, what you saw that the next visitor should know.",
        "Driving home after more than ten hours of work and travel is not allowed. Take a hotel; the usual limits for"
        " expenses do not apply on such a night.",
    ]),
    (1, "5 Accidents and near misses", [
        "Call 112 first. Then call your anchor. Everything else can wait.",
        "Near misses are reported within 48 hours with the form on the workshop door, anonymously if you like. Last"
        " year there were 23 reports, and eleven of them changed this manual.",
    ]),
]  # fmt: skip

COLUMNS = """
    asset_tag TEXT PRIMARY KEY, name TEXT NOT NULL, category TEXT NOT NULL, serial_number TEXT NOT NULL,
    held_by TEXT, location TEXT NOT NULL, bought_on TEXT NOT NULL, warranty_until TEXT NOT NULL,
    insured_value TEXT NOT NULL, notes TEXT
"""
EQUIPMENT = [
    ("FH-0101", "Larkbook 14 laptop of Tobias Renn", "Laptop", "LB14-88213", "Tobias Renn", "Alder Street, room 2.04",
     "2024-05-13", "2027-05-12", "1,850 EUR", "The spare charger is in the IT cupboard."),
    ("FH-0102", "Larkbook 14 laptop of Priya Ramanathan", "Laptop", "LB14-88240", "Priya Ramanathan", "home office",
     "2024-05-13", "2027-05-12", "1,850 EUR", "Second battery fitted in January 2026."),
    ("FH-0107", "Larkbook 16 laptop of Ewan Castellane", "Laptop", "LB16-10377", "Ewan Castellane", "home office",
     "2025-09-02", "2029-09-01", "2,640 EUR", "Holds a firmware signing token: report a loss to Security at once."),
    ("FH-0110", "Larkbook 14 loan laptop A", "Laptop", "LB14-90112", None, "IT cupboard, shelf 1",
     "2023-02-20", "2026-02-19", "1,200 EUR", "Lent out for at most 14 days while a laptop is being repaired."),
    ("FH-0111", "Larkbook 14 loan laptop B", "Laptop", "LB14-90113", "Philippa Okonjo", "Alder Street, room 1.09",
     "2023-02-20", "2026-02-19", "1,200 EUR", "Out of warranty; the hinge is loose. Do not travel with it."),
    ("FH-0203", "On-call phone, primary", "Phone", "TP5-40021", "whoever is primary on call", "travels with the rota",
     "2025-03-10", "2027-03-09", "640 EUR", "Handed over on Tuesday at 10:00. The PIN is in the password manager."),
    ("FH-0204", "On-call phone, secondary", "Phone", "TP5-40022", "whoever is secondary on call",
     "travels with the rota", "2025-03-10", "2027-03-09", "640 EUR", "Ringtone must stay on the loudest setting."),
    ("FH-0301", "Projector Lumen 2", "Projector", "LU2-0093", None, "room Mistral", "2022-10-04", "2025-10-03",
     "900 EUR", "May be borrowed over a weekend; ask Ingrid Solvang. The lamp was changed in March 2026."),
    ("FH-0302", "Camera with macro lens", "Camera", "CM-55170", "Jonas Weidling", "workshop, cabinet 3",
     "2024-11-18", "2026-11-17", "2,300 EUR",
     "For pictures of damaged sensors. Memory cards are emptied after each loan."),
    ("FH-0401", "Climate chamber North", "Lab instrument", "CC-700-12", None, "calibration lab, room 2.11",
     "2021-06-30", "2031-06-29", "48,000 EUR", "From -40 to 85 degrees. Serviced every April by the maker."),
    ("FH-0402", "Wind tunnel", "Lab instrument", "WT-30-02", None, "calibration lab, room 2.12", "2020-01-15",
     "2030-01-14", "112,000 EUR", "Up to 30 m/s. Ear protection above 20 m/s. Book it in the calendar a week ahead."),
    ("FH-0403", "Reference barometer", "Lab instrument", "RB-1-0448", "Amara Delacroix", "calibration lab, room 2.11",
     "2023-08-21", "2028-08-20", "7,900 EUR",
     "Calibrated every 24 months by the national institute, next in August 2027."),
    ("FH-0501", "Electric van Heron", "Vehicle", "EV-HER-7731", None, "Alder Street, yard", "2024-03-01", "2029-02-28",
     "41,500 EUR",
     "Range about 310 km in summer and 220 km in winter. Keys at the front desk; at most three days a trip."),
    ("FH-0502", "Cargo bicycle", "Vehicle", "CB-2290", None, "Alder Street, yard", "2025-04-22", "2027-04-21",
     "5,200 EUR", "For post and small parts. Carries 80 kg. Free to use at weekends."),
    ("FH-0601", "Harness set, two pieces", "Safety gear", "HS-118", "Oskar Lindqvist", "workshop, cabinet 1",
     "2023-05-05", "2033-05-04", "780 EUR", "Last inspected on 14 April 2026, valid for twelve months."),
]  # fmt: skip


class Manual(FPDF):
    """A page has a running title above and a number below."""

    def header(self) -> None:
        self.set_font("helvetica", "I", 9)
        self.cell(0, 8, "Fernhollow Instruments - Field work safety, edition 7", new_x="LMARGIN", new_y="NEXT")
        self.ln(6)

    def footer(self) -> None:
        self.set_y(-15)
        self.set_font("helvetica", "I", 9)
        self.cell(0, 8, f"Page {self.page_no()}", align="C")


def build_manual(path: Path) -> None:
    pdf = Manual()
    pdf.set_creation_date(datetime(2026, 4, 1, tzinfo=UTC))
    pdf.set_title(TITLE)
    pdf.set_author("Oskar Lindqvist")
    pdf.set_auto_page_break(auto=True, margin=25)
    pdf.set_margins(25, 20)
    pdf.add_page()
    pdf.set_font("helvetica", "B", 22)
    pdf.cell(0, 16, TITLE, new_x="LMARGIN", new_y="NEXT")
    for level, heading, contents in MANUAL:
        write_heading(pdf, level, heading)
        for content in contents:
            write_content(pdf, content)
    pdf.output(str(path))


def write_heading(pdf: Manual, level: int, heading: str) -> None:
    if pdf.will_page_break(45):
        pdf.add_page()
    pdf.ln(4)
    pdf.start_section(heading, level=level - 1)
    pdf.set_font("helvetica", "B", 18 - 2 * level)
    pdf.cell(0, 11, heading, new_x="LMARGIN", new_y="NEXT")


def write_content(pdf: Manual, content: str | list[tuple[str, ...]]) -> None:
    pdf.set_font("helvetica", size=12)
    if isinstance(content, str):
        pdf.multi_cell(0, 7, content, new_x="LMARGIN", new_y="NEXT")
    else:
        with pdf.table() as table:
            for row in content:
                table.row(row)
    pdf.ln(4)


def build_equipment(path: Path) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"CREATE TABLE equipment ({COLUMNS})")
        database.executemany("INSERT INTO equipment VALUES (?,?,?,?,?,?,?,?,?,?)", EQUIPMENT)
        database.commit()


if __name__ == "__main__":
    build_manual(HERE / "docs" / "field-work.pdf")
    build_equipment(HERE / "equipment.db")
