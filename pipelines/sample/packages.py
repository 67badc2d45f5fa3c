"""What the sample is made of: Debian packages with their versions, checksums and licences, and which of their pages are taken.

A rule (`Take`) names a folder and a pattern; the pages are ranked by sha256(seed, family, path), so that a rule takes the
same pages everywhere, and two versions of one manual (same family) give pages that are near duplicates of each other.
"""

from dataclasses import dataclass, field

SEED = "winnow-sample-1"
DOC = "usr/share/doc/"


@dataclass(frozen=True, slots=True)
class Take:
    """One rule: at most `limit` pages below `folder` whose path matches `pattern`."""

    folder: str
    """Below usr/share/doc/ of the unpacked package, unless it begins with a slash."""
    limit: int
    pattern: str = r"\.html?$"
    """Regular expression, searched in the path relative to `folder`."""
    exclude: str = r"(?i)(^|[/_-])(copying|copyright|licen[cs]e|gfdl|fdl|gpl|legal)[^/]*$"
    """Licence texts repeat from package to package, which is why no rule takes them."""
    language: str = "en"
    """The language that the package declares, not a detected one."""
    kind: str = "reference"
    """prose | reference | navigation | planted (given to `planted.py`)."""
    min_prose: float = 0.0
    """Least share of the extracted text's bytes that stands in lines of 150 characters or more."""
    text_bytes: tuple[int, int] = (0, 14_000)
    """Least and most bytes of extracted text."""
    max_html_bytes: int = 160_000
    family: str = ""
    """Ranks like another package's pages of the same family; default: the package's name."""


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package, pinned by version; `SHA256` pins the bytes of its .deb."""

    name: str
    version: str
    use: str
    """pool | positives | validation prose | validation reference."""
    licence: str
    """Of the pages taken, as the package's copyright file states it."""
    holders: str
    takes: tuple[Take, ...] = field(default=())


BOOK = dict(kind="prose", min_prose=0.5, text_bytes=(1200, 40_000))

INSTALLERS = (
    "Bruce Perens, Sven Rudolph, Igor Grobman, James Treacy, Adam Di Carlo, Chris Tillman, the Debian Installer team"
)
HISTORIANS = "Bdale Garbee, Debian Documentation Team"
FAQ = "Software in the Public Interest"
MAINT = "Josip Rodin, Osamu Aoki, Craig Small, Raphaël Hertzog"
FAQ_LICENCE = "Debian FAQ licence (verbatim and modified copies under the same notice)"
LLVM = "The LLVM Project contributors"
APACHE = "The Apache Software Foundation"


def _translations(folder: str, languages: dict[str, int], **more) -> tuple[Take, ...]:
    """One rule per language of a package that keeps its translations in folders `<folder>/<code>`."""
    return tuple(
        Take(f"{folder}/{code}", limit, language=code.lower()[:2], **more) for code, limit in languages.items()
    )


PACKAGES = (
    # ---- positives: books and guides that explain ----
    Package(
        "debian-handbook",
        "11.20220922",
        "positives",
        "GPL-2.0-or-later or CC-BY-SA-3.0",
        "Raphaël Hertzog, Roland Mas, Freexian SARL",
        (Take("debian-handbook/html/en-US", 54, **BOOK),),
    ),
    Package(
        "mh-book",
        "200605-2.2",
        "positives",
        "GPL-2.0-or-later",
        "O'Reilly & Associates, Jerry Peek, Bill Wohler and contributors",
        (Take("mh-book/html", 112, kind="prose", min_prose=0.5, text_bytes=(1200, 12_000)),),
    ),
    Package("gitmagic", "20160304-1.2", "positives", "GPL-3.0-only", "Ben Lynn", (Take("gitmagic/html", 12, **BOOK),)),
    Package(
        "live-manual-html",
        "2:20151217.2",
        "positives",
        "GPL-3.0-or-later",
        "Live Systems Project",
        (Take("live-manual/html/live-manual", 16, pattern=r"\.en\.html$", **BOOK),),
    ),
    Package(
        "brz-doc",
        "3.3.2-3",
        "positives",
        "GPL-2.0-or-later",
        "Canonical Ltd, Breezy Developers, Jelmer Vernooĳ, Aaron Bentley, Robey Pointer",
        (Take("brz/html/en/user-guide", 26, **BOOK),),
    ),
    # ---- validation ----
    Package(
        "png-definitive-guide",
        "20060430-4",
        "validation prose",
        "GFDL-1.1-or-later, no invariant sections, no cover texts",
        "O'Reilly and Associates, Greg Roelofs",
        (
            Take(
                "png-definitive-guide/html",
                3,
                pattern=r"chapter(01|07|10)\.html$",
                kind="prose",
                text_bytes=(20_000, 70_000),
            ),
        ),
    ),
    Package(
        "exim4-doc-html",
        "4.96-1",
        "validation reference",
        "GPL-2.0-or-later",
        "University of Cambridge",
        (
            Take(
                "exim4-doc-html/spec_html",
                8,
                text_bytes=(6_000, 22_000),
                exclude=r"incorporated|index|filter|exim_monitor",
            ),
        ),
    ),
    # ---- pool: prose ----
    Package(
        "cfi-en",
        "3.0-10.2",
        "pool",
        "public domain",
        "Linus Walleij (dedicated to the public domain)",
        (Take("cfi-en/html", 9, kind="prose", text_bytes=(0, 60_000)),),
    ),
    Package(
        "c++-annotations-html",
        "12.2.0-2",
        "pool",
        "GPL-2.0-or-later",
        "Frank B. Brokken, University of Groningen",
        (Take("c++-annotations/html", 5, kind="prose", text_bytes=(0, 60_000)),),
    ),
    Package(
        "debian-history",
        "2.28",
        "pool",
        "GPL-2.0-or-later",
        HISTORIANS,
        tuple(
            Take(
                "debian-history/docs",
                n,
                pattern=rf"\.{code}\.html$",
                language=code,
                kind="prose",
                text_bytes=(0, 24_000),
            )
            for code, n in dict(en=6, de=4, es=4, fr=4, it=5, ja=2, ko=5, lt=5, pt=5, ru=2).items()
        ),
    ),
    Package(
        "sqlite3-doc",
        "3.40.1-2+deb12u2",
        "pool",
        "public domain",
        "D. Richard Hipp and the SQLite authors",
        (
            Take("sqlite3", 58, pattern=r"^[^/]+\.html$", kind="prose", min_prose=0.5, max_html_bytes=90_000),
            Take("sqlite3/c3ref", 60),
            Take("sqlite3/syntax", 15),
            Take(
                "sqlite3",
                12,
                pattern=r"^(c3ref/(funclist|objlist|constlist|intro)|docs|doclist|keyword_index|"
                r"syntaxdiagrams|syntax|books|howtocorrupt|releaselog/3_[0-9]+_0)\.html$",
                kind="navigation",
            ),
        ),
    ),
    Package(
        "developers-reference",
        "12.18",
        "pool",
        "GPL-2.0-or-later",
        "Christian Schwarz, Adam Di Carlo, Raphaël Hertzog, Andreas Barth, Lucas Nussbaum, Hideki Yamane, Holger Levsen",
        (Take("/usr/share/developers-reference", 12, kind="prose", text_bytes=(0, 40_000)),),
    ),
    Package(
        "debian-faq",
        "11.1",
        "pool",
        FAQ_LICENCE,
        FAQ,
        (Take("debian/FAQ", 17, pattern=r"\.en\.html$", kind="prose", text_bytes=(0, 30_000)),),
    ),
    Package(
        "installation-guide-amd64",
        "20230508+deb12u1",
        "pool",
        "GPL-2.0-only",
        INSTALLERS,
        (
            Take("installation-guide-amd64/en", 70, kind="prose", family="installation-guide"),
            *_translations(
                "installation-guide-amd64",
                dict(
                    de=10,
                    fr=10,
                    es=10,
                    ja=8,
                    ru=8,
                    zh_CN=10,
                    it=8,
                    pt=10,
                    ko=8,
                    nl=12,
                    sv=12,
                    cs=8,
                    el=6,
                    vi=8,
                    ca=6,
                    da=8,
                    ro=4,
                ),
                kind="prose",
                text_bytes=(500, 9_000),
            ),
        ),
    ),
    Package(
        "installation-guide-armhf",
        "20230508+deb12u1",
        "pool",
        "GPL-2.0-only",
        INSTALLERS,
        (Take("installation-guide-armhf/en", 70, kind="prose", family="installation-guide"),),
    ),
    Package(
        "solfege-doc",
        "3.23.4-11",
        "pool",
        "GPL-3.0-or-later",
        "Tom Cato Amundsen and contributors",
        (
            Take("solfege/help/C", 60, kind="prose"),
            *_translations("solfege/help", dict(pl=8, tr=8, nb=8, et=5, gl=5), text_bytes=(400, 9_000)),
        ),
    ),
    # ---- pool: reference ----
    Package(
        "python-django-doc",
        "3:3.2.25-0+deb12u7",
        "pool",
        "BSD-3-Clause",
        "Django Software Foundation and individual contributors",
        (
            Take("python-django-doc/html/topics", 36, kind="prose"),
            Take("python-django-doc/html/intro", 10, kind="prose"),
            Take("python-django-doc/html/ref", 38),
            Take("python-django-doc/html/releases", 55),
            Take("python-django-doc/html/_modules", 14),
            Take(
                "python-django-doc/html",
                8,
                pattern=r"^(py-modindex|contents|index|genindex|search|"
                r"(topics|ref|howto|releases|faq|misc|internals)/index)\.html$",
                kind="navigation",
            ),
        ),
    ),
    Package(
        "postgresql-doc-15",
        "15.20-0+deb12u1",
        "pool",
        "PostgreSQL",
        "PostgreSQL Global Development Group, The Regents of the University of California",
        (
            Take("postgresql-doc-15/html", 138),
            Take("postgresql-doc-15/html", 34, kind="planted", text_bytes=(1_500, 12_000)),
            Take(
                "postgresql-doc-15/html",
                8,
                kind="navigation",
                pattern=r"^(index|bookindex|reference|sql-commands|contrib|biblio|tutorial|admin|internals)\.html$",
            ),
        ),
    ),
    Package(
        "apache2-doc",
        "2.4.71-1~deb12u1",
        "pool",
        "Apache-2.0",
        APACHE,
        (
            Take("apache2-doc/manual/en", 68),
            *_translations(
                "apache2-doc/manual",
                {"fr": 14, "ja": 10, "ko": 10, "de": 10, "es": 10, "tr": 10, "pt-br": 6, "zh-cn": 6, "da": 3},
                text_bytes=(500, 12_000),
            ),
        ),
    ),
    Package(
        "clang-14-doc",
        "1:14.0.6-12",
        "pool",
        "Apache-2.0 WITH LLVM-exception",
        LLVM,
        (Take("clang-14/html", 38, family="clang"),),
    ),
    Package(
        "clang-15-doc",
        "1:15.0.6-4",
        "pool",
        "Apache-2.0 WITH LLVM-exception",
        LLVM,
        (Take("clang-15/html", 38, family="clang"),),
    ),
    Package(
        "python-sqlalchemy-doc",
        "1.4.46+ds1-1",
        "pool",
        "MIT",
        "the SQLAlchemy authors and contributors",
        (Take("python-sqlalchemy-doc/html", 20, max_html_bytes=60_000),),
    ),
    Package(
        "postfix-doc",
        "3.7.11-0+deb12u1",
        "pool",
        "IPL-1.0 or EPL-2.0",
        "Wietse Venema, International Business Machines Corporation",
        (Take("postfix/html", 62),),
    ),
    Package(
        "shorewall-doc",
        "5.2.8-2",
        "pool",
        "GFDL-1.2-or-later",
        "Thomas M. Eastep",
        (Take("shorewall-doc/html", 50), Take("shorewall-doc/manpages", 20)),
    ),
    Package(
        "ntpsec-doc",
        "1.2.2+dfsg1-1+deb12u1",
        "pool",
        "NTP, BSD-2-Clause or CC-BY-4.0, file by file",
        "Network Time Foundation, NTPsec project contributors",
        (Take("ntpsec-doc/html", 50),),
    ),
    Package(
        "proftpd-doc",
        "1.3.8+dfsg-4+deb12u5",
        "pool",
        "GPL-2.0-or-later",
        "The ProFTPD Project team, Public Flood Software, Habeeb J. Dihu, TJ Saunders",
        (Take("proftpd-doc", 52),),
    ),
    Package(
        "swi-prolog-doc",
        "9.0.4+dfsg-2",
        "pool",
        "BSD-2-Clause",
        "University of Amsterdam, VU University Amsterdam, SWI-Prolog Solutions b.v.",
        (Take("/usr/share/swi-prolog/doc/Manual", 72),),
    ),
    Package(
        "octave-doc",
        "7.3.0-2",
        "pool",
        "GPL-3.0-or-later",
        "The Octave Project Developers",
        (Take("octave/octave.html", 150, text_bytes=(80, 14_000)),),
    ),
    Package(
        "abs-guide",
        "10-4",
        "pool",
        "public domain",
        "Mendel Cooper (dedicated to the public domain)",
        (Take("abs-guide/html", 34),),
    ),
    # ---- pool: translations ----
    *(
        Package(
            f"debian-faq-{code}",
            "11.1",
            "pool",
            FAQ_LICENCE,
            FAQ,
            (
                Take(f"debian/FAQ/{code}", 6, language=code, kind="prose", text_bytes=(0, 24_000)),
                Take(f"debian/FAQ/{code}", planted, language=code, kind="planted", text_bytes=(3_000, 20_000)),
            ),
        )
        for code, planted in dict(de=2, fr=0, ja=1, ru=1).items()
    ),
    *(
        Package(
            f"maint-guide-{code}",
            "1.2.53",
            "pool",
            "GPL-2.0-or-later",
            MAINT,
            (Take(f"maint-guide-{code}/html", 4, language=code[:2], text_bytes=(500, 25_000)),),
        )
        for code in ("de", "es", "fr", "ja", "ru", "zh-cn")
    ),
    *(
        Package(
            f"aptitude-doc-{code}",
            "0.8.13-5",
            "pool",
            "GPL-2.0-or-later",
            "Daniel Burrows",
            (Take(f"aptitude/html/{code}", 12, language=code, text_bytes=(400, 15_000)),),
        )
        for code in ("es", "fr", "ja", "ru")
    ),
)

SHA256 = {
    "debian-handbook": "3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
    "mh-book": "d8ec0215495cd3bbfd230421b15d166e0adf439a8a76ae6b604c7b32559d4260",
    "gitmagic": "3e9990e5ca6466e8d65d21cbaff2fe99d080338c43d6eaeb601fb23cf8079a02",
    "live-manual-html": "fb575f16c39be23b73ce12f822202f4d90675a4d796c98d427805422a89389ca",
    "brz-doc": "47609787b971a6bff1646e2d36174258c4cb398a15196c79f74a3e602e7cedfd",
    "png-definitive-guide": "3a6f84106f6dbba83663d6e19a4a901b503b75a31ae35623b9194582299dacd6",
    "exim4-doc-html": "f0613395fd73c3c278b619c8162c5a183e7874cbfdebe3614b4b3339d5d8a120",
    "cfi-en": "a080fc8f3b1a36c645b22f769fec4acc2f0cded42bcc5d5865c846845c897da2",
    "c++-annotations-html": "17cdff3d44c3d6261af9e1339b4afc9b80cd085a0f7ee45489b3c4b6213e4ca9",
    "debian-history": "ae364cdfd075bf6a08ca8f5105b44db7093e3b201c95d3b70a863b8849c6a082",
    "sqlite3-doc": "466e30d7066e2641fa13e56bc662a2ad521b8cc9c17dde9c9dac3d4f105e32f2",
    "developers-reference": "0dba82f6fa16e373f2a84ad07e7971aa9264ad2e7d2ae46b37edbc9c5fd57e2e",
    "debian-faq": "427426e0cfa6888622fc1d72631071cb4b5a1f86ccde722e7820bcef284de5d0",
    "installation-guide-amd64": "812c43e1dc906daf671e3efe953dc023205c238e5bd5a3021ce4ca142793573a",
    "installation-guide-armhf": "eaddb588c7c4503813aa26124c44f27094458918392705cb320506abb0703a61",
    "solfege-doc": "d4ffad067a4c44d62be596848b586f8a9813027033b940526f4253cae82e1df6",
    "python-django-doc": "87307f067916df72e17180d35b7cde5c7ea6080336cda518efd7f6e66988a7ca",
    "postgresql-doc-15": "4c44bf2c599f208b3f46454a6cf7a72e25ec46ff74d37b59dd31ad76b00eebb7",
    "apache2-doc": "a7b3d1131c1c63dbf9999b28e75f9a133d30f70492b419936bd51759ac77a01f",
    "clang-14-doc": "9d4160c5cdb3e240fc676eacba163481002363f9532f854bc09e3eb566eb5c0f",
    "clang-15-doc": "6090efd4128984a1abf423a7827e4c4f9f342e2f90fc8b1dcca0dc49eabe653d",
    "python-sqlalchemy-doc": "8805c3167ef75278ac6fd58ed9856321c2b2e3a7e441edba84b2eb955216d0fd",
    "postfix-doc": "6b07bcc68991703acf747dc2500355bdd02aef0a048419b939752c39faf47d8d",
    "shorewall-doc": "adbc9bdfa9393e0f795837019c4267da912c672961d454fcacb519907576480b",
    "ntpsec-doc": "f0622777a42e9029e5cb991df7cd16d360bfb030c175d6807dce3f9ac29fb880",
    "proftpd-doc": "6db51434fb08b75d94dbeac56cbea60f201b04416fcb8aadfb9d5ed8b2798e99",
    "swi-prolog-doc": "63bc22806b40b87b7c5d9a13c9b4ef804587c76b575d0e1bfac6a699dd1beee3",
    "octave-doc": "b27897cc7e3d688daa5cb8f8d1ea47077f3fbd205ce32e22522200ff0c1eadd5",
    "abs-guide": "2432950da65e559b986f593c09a6d0dd6bc9f3bea83fa115774791066108ecd9",
    "debian-faq-de": "e9a8d8234f4b182660d521f80f50cea87f797b4541005a3d64fab7777766f6de",
    "debian-faq-fr": "e83cbcc28106fc35f6665a6b0c54c2bd66db481de409764ce35b715baca510df",
    "debian-faq-ja": "7e2a2f200a963e41dead4dd8645e0dd6550e2eda4cd88041b8e880046ca924a2",
    "debian-faq-ru": "aaaae7a409c5cf5f5b8c26991f6ef484297e0cd2dee74c8d675cfa6613bce541",
    "maint-guide-de": "821afc6b85ffe9cbc9b7acbcdd5876ccbb855c3876ee5524d21602fd41d979c1",
    "maint-guide-es": "5a76b5e43285173ce4cce9284fb47b9a1851a68a9c0c0b8300c338d8890a42b6",
    "maint-guide-fr": "02e6c94eac2c471b898a160717d50f44a3696dfbffda7a9ee74017a6dcd00da8",
    "maint-guide-ja": "67e9020818b7664b465239d96316a13af5f8cbd9a8bed5e8773c74e31ca24c97",
    "maint-guide-ru": "41b69743c45f0a931edca9ab19232e226cebce393cbafdd582f0d000499a0d19",
    "maint-guide-zh-cn": "d605b60a034f63857bc44205aed5ad7ba6e17d0d2b1ba5e79179b4e7ec4ee4bc",
    "aptitude-doc-es": "a4245500fe3b449791a9f5910869b4bec4cc7e55e108b28fd03a55737687a917",
    "aptitude-doc-fr": "a6cf16d609a3872f32ec6c3b93f60f0bbb353e80f25a2b2b11ef3844db6787d2",
    "aptitude-doc-ja": "070ec003bdad1d3074c7cb012b0003f7379d7dce636f342705be4e2231072b45",
    "aptitude-doc-ru": "0d38f3888b2510d2a294ff32622fce0af44a1bdc0f8f1979165301dffde14ba2",
}
"""sha256 of each package's .deb."""
