"""Certificates as proxies write them, by format: fields that name the leaf `LEAF`, and fields that are none."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from urllib.parse import quote

LEAF, OTHER = bytes(range(48, 148)), bytes(range(100))
DIGEST = hashlib.sha256(LEAF).digest()
TEXT, OTHER_TEXT = b64encode(LEAF).decode(), b64encode(OTHER).decode()


def pem(der, ends="\n", width=64):
    text = b64encode(der).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return ends.join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])


PEM = pem(LEAF)
HEX = DIGEST.hex()

GOOD = {
    "rfc9440": {
        "as it is": f":{TEXT}:",
        "without padding": f":{TEXT.rstrip('=')}:",
        "spaces around": f"  :{TEXT}:  ",
        "a tab around": f"\t:{TEXT}:",
    },
    "pem": {
        "blanks for line ends": PEM.replace("\n", " ").strip(),
        "a blank at the end": PEM.replace("\n", " "),
        "nginx, percent-encoded": quote(PEM, safe=""),
        "AWS, with +=/ as they are": quote(PEM, safe="+=/"),
        "lower case encoding": quote(PEM, safe="").replace("%0A", "%0a").replace("%2B", "%2b"),
        "CRLF": quote(pem(LEAF, "\r\n"), safe=""),
        "tabs for line ends": PEM.replace("\n", "\t").strip(),
        "line end and tab, encoded": quote(PEM.replace("\n", "\n\t"), safe=""),
        "on one line": quote(pem(LEAF, width=10_000), safe=""),
        "no line end at all": PEM.replace("\n", ""),
        "a chain": quote(PEM + pem(OTHER), safe="+=/"),
        "a chain with blanks": (PEM + pem(OTHER)).replace("\n", " "),
        "a chain of three": quote(PEM + pem(OTHER) * 2, safe=""),
        "short lines": pem(LEAF, " ", 10),
        "a line end before": quote("\n" + PEM, safe=""),
    },
    "der": {"as it is": TEXT, "spaces around": f" {TEXT} "},
    "traefik": {
        "one": TEXT,
        "two": f"{TEXT},{OTHER_TEXT}",
        "three": f"{TEXT},{OTHER_TEXT},{OTHER_TEXT}",
        "blanks behind commas": f"{TEXT}, {OTHER_TEXT}",
    },
    "xfcc": {
        "the hash alone": f"Hash={HEX}",
        "upper case": f"Hash={HEX.upper()}",
        "a key in lower case": f"hash={HEX}",
        "a key in upper case": f"HASH={HEX}",
        "quoted": f'Hash="{HEX}"',
        "as Envoy writes it": f'By=spiffe://a/ns/b/sa/c;Hash={HEX};Subject="/C=US/ST=CA/CN=a, b; c=d";URI=spiffe://a/x',
        "behind others": f'Subject="CN=a";Hash={HEX}',
        "a hash in a quoted value": f'Subject="CN=a;Hash={"0" * 64}";Hash={HEX}',
        "an escaped quote": f'Subject="CN=\\"a\\", O=b";Hash={HEX}',
        "an escaped backslash": f'Subject="CN=a\\\\";Hash={HEX}',
        "an empty value": f"By=;Hash={HEX}",
        "a final semicolon": f"Hash={HEX};",
        "a certificate and a chain": f'Cert="{quote(PEM, safe="")}";Chain="{quote(PEM, safe="")}";Hash={HEX}',
        "an equals sign in a value": f"URI=spiffe://a/x?y=z;Hash={HEX}",
    },
}
BAD = {
    "rfc9440": {
        "empty": "",
        "colons alone": "::",
        "one colon": ":",
        "no colons": TEXT,
        "no colon at the end": f":{TEXT}",
        "no colon at the start": f"{TEXT}:",
        "two certificates": f":{TEXT}:, :{OTHER_TEXT}:",
        "joined": f":{TEXT}:,:{TEXT}:",
        "a parameter": f":{TEXT}:;a=b",
        "base64url": f":{TEXT.replace('+', '-').replace('/', '_')}:" if "+" in TEXT or "/" in TEXT else ":a-b_:",
        "a blank inside": f":{TEXT[:8]} {TEXT[8:]}:",
        "one character over": f":{TEXT.rstrip('=')}A===:",
        "too much padding": f":{TEXT}=:",
        "padding inside": f":{TEXT[:8]}={TEXT[9:]}:",
        "PEM": PEM.replace("\n", " "),
        "not ASCII": f":{TEXT}é:",
        "NUL": f":{TEXT}\0:",
        "quoted": f'":{TEXT}:"',
    },
    "pem": {
        "empty": "",
        "blanks": "   ",
        "no PEM": TEXT,
        "no end": PEM.partition("-----END")[0].replace("\n", " "),
        "no beginning": PEM.partition("CERTIFICATE-----")[2].replace("\n", " "),
        "nothing inside": "-----BEGIN CERTIFICATE----- -----END CERTIFICATE-----",
        "padding alone": "-----BEGIN CERTIFICATE----- == -----END CERTIFICATE-----",
        "a key": PEM.replace("CERTIFICATE", "PUBLIC KEY").replace("\n", " "),
        "another label's end": PEM.replace("END CERTIFICATE", "END KEY").replace("\n", " "),
        "lower case": PEM.lower().replace("\n", " "),
        "text before": "Bag Attributes " + PEM.replace("\n", " "),
        "text behind": PEM.replace("\n", " ") + "x",
        "a broken second one": (PEM + pem(OTHER)[:-20]).replace("\n", " "),
        "joined by a comma": f"{PEM}, {PEM}".replace("\n", " "),
        "two fields joined, encoded": f"{quote(PEM, safe='')}, {quote(PEM, safe='')}",
        "a broken encoding": quote(PEM, safe="") + "%",
        "an encoding of no hex": quote(PEM, safe="").replace("%0A", "%0G"),
        "encoded twice": quote(quote(PEM, safe=""), safe=""),
        "plus signs for blanks": PEM.replace("\n", "+").replace(" ", "+"),
        "an encoded NUL": quote(PEM + "\0", safe=""),
        "not ASCII": PEM.replace("\n", " ") + "é",
        "encoded Latin-1": quote(PEM, safe="") + "%E9",
        "base64url": PEM.replace("\n", " ").replace("A", "-"),
        "a header": PEM.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n", 1).replace("\n", " "),
        "quoted": f'"{PEM}"'.replace("\n", " "),
        "one character missing": PEM.replace(TEXT[10:12], TEXT[10:11], 1).replace("\n", " "),
    },
    "der": {
        "empty": "",
        "PEM": PEM.replace("\n", " "),
        "colons": f":{TEXT}:",
        "a comma": f"{TEXT},{OTHER_TEXT}",
        "a blank inside": f"{TEXT[:8]} {TEXT[8:]}",
        "no padding": TEXT.rstrip("=") if TEXT.endswith("=") else TEXT[:-1],
        "base64url": "ab-_",
        "percent-encoded": quote(TEXT, safe="").replace("=", "%3D"),
        "padding alone": "====",
        "hex": LEAF.hex() + "0",
        "NUL": TEXT + "\0",
        "a line break": TEXT + "\n",
    },
    "traefik": {
        "empty": "",
        "a comma alone": ",",
        "no leaf": f",{TEXT}",
        "nothing behind a comma": f"{TEXT},",
        "a broken second one": f"{TEXT},x",
        "PEM": PEM.replace("\n", " "),
        "a semicolon": f"{TEXT};{OTHER_TEXT}",
        "percent-encoded": quote(f"{TEXT},{OTHER_TEXT}", safe=""),
        "a tab between": f"{TEXT},\t{OTHER_TEXT}",
    },
    "xfcc": {
        "empty": "",
        "no hash": 'By=a;Subject="CN=a"',
        "two elements": f"Hash={HEX},Hash={HEX}",
        "two elements, one with a hash": f"By=a,Hash={HEX}",
        "two elements and a blank": f"Hash={HEX}, By=b",
        "two hashes": f"Hash={HEX};Hash={HEX}",
        "an empty hash": "Hash=",
        "a short hash": f"Hash={HEX[:-1]}",
        "a long hash": f"Hash={HEX}0",
        "no hex": f"Hash={'g' * 64}",
        "base64": f"Hash={b64encode(DIGEST).decode()}",
        "a blank before": f"By=a; Hash={HEX}",
        "a blank behind": f"Hash={HEX} ;By=a",
        "a hash in a quoted value alone": f'Subject="a;Hash={HEX}"',
        "an open quote": f'Subject="CN=a;Hash={HEX}',
        "a quote inside": f'Subject=a"b;Hash={HEX}',
        "text behind a quote": f'Subject="a"b;Hash={HEX}',
        "no equals sign": f"Hash;{HEX}",
        "no key": f"={HEX}",
        "a semicolon alone": ";",
        "the digest alone": HEX,
        "PEM": PEM.replace("\n", " "),
        "not ASCII": f"By=é;Hash={HEX}",
        "an escape at the end": f'Hash={HEX};By="a\\',
    },
}
