"""Telephone area codes and social security area numbers of the American states."""

from __future__ import annotations

from typing import NamedTuple

_TABLE = """
AL|Alabama|416-424|205 251 256 334 659 938
AK|Alaska|574|907
AZ|Arizona|526-527 600-601 764-765|480 520 602 623 928
AR|Arkansas|429-432 676-679|327 479 501 870
CA|California|545-573 602-626|209 213 279 310 323 341 350 408 415 424 442 510 530 559 562 619 626 628 650 657 661 669 707 714 747 760 805 818 820 831 840 858 909 916 925 949 951
CO|Colorado|521-524 650-653|303 719 720 970 983
CT|Connecticut|040-049|203 475 860 959
DE|Delaware|221-222|302
DC|District of Columbia|577-579|202 771
FL|Florida|261-267 589-595 766-772|239 305 321 324 352 386 407 448 561 645 656 689 727 728 754 772 786 813 850 863 904 941 954
GA|Georgia|252-260 667-675|229 404 470 478 678 706 762 770 912 943
HI|Hawaii|575-576 750-751|808
ID|Idaho|518-519|208 986
IL|Illinois|318-361|217 224 309 312 331 447 464 618 630 708 730 773 779 815 847 861 872
IN|Indiana|303-317|219 260 317 463 574 765 812 930
IA|Iowa|478-485|319 515 563 641 712
KS|Kansas|509-515|316 620 785 913
KY|Kentucky|400-407|270 364 502 606 859
LA|Louisiana|433-439 659-665|225 318 337 504 985
ME|Maine|004-007|207
MD|Maryland|212-220|227 240 301 410 443 667
MA|Massachusetts|010-034|339 351 413 508 617 774 781 857 978
MI|Michigan|362-386|231 248 269 313 517 586 616 679 734 810 906 947 989
MN|Minnesota|468-477|218 320 507 612 651 763 924 952
MS|Mississippi|425-428 587|228 471 601 662 769
MO|Missouri|486-500|235 314 417 557 573 636 660 816 975
MT|Montana|516-517|406
NE|Nebraska|505-508|308 402 531
NV|Nevada|530 680|702 725 775
NH|New Hampshire|001-003|603
NJ|New Jersey|135-158|201 551 609 640 732 848 856 862 908 973
NM|New Mexico|525 585 648-649|505 575
NY|New York|050-134|212 315 329 332 347 363 516 518 585 607 624 631 646 680 716 718 838 845 914 917 929 934
NC|North Carolina|237-246 681-690|252 336 472 704 743 828 910 919 980 984
ND|North Dakota|501-502|701
OH|Ohio|268-302|216 220 234 283 326 330 380 419 436 440 513 567 614 740 937
OK|Oklahoma|440-448|405 539 572 580 918
OR|Oregon|540-544|458 503 541 971
PA|Pennsylvania|159-211|215 223 267 272 412 445 484 570 582 610 717 724 814 835 878
PR|Puerto Rico|580-584 596-599|787 939
RI|Rhode Island|035-039|401
SC|South Carolina|247-251 654-658|803 821 839 843 854 864
SD|South Dakota|503-504|605
TN|Tennessee|408-415 756-763|423 615 629 731 865 901 931
TX|Texas|449-467 627-645|210 214 254 281 325 346 361 409 430 432 469 512 682 713 726 737 806 817 830 832 903 915 936 940 945 956 972 979
UT|Utah|528-529 646-647|385 435 801
VT|Vermont|008-009|802
VA|Virginia|223-231 691-699|276 434 540 571 686 703 757 804 826 948
WA|Washington|531-539|206 253 360 425 509 564
WV|West Virginia|232-236|304 681
WI|Wisconsin|387-399|262 274 353 414 534 608 715 920
WY|Wyoming|520|307
"""  # noqa: E501  (one state per line)


class State(NamedTuple):
    """Area numbers and area codes of a state."""

    social_security_areas: tuple[int, ...]
    area_codes: tuple[str, ...]


def _areas(ranges: str) -> tuple[int, ...]:
    ends = [(part.split("-")[0], part.split("-")[-1]) for part in ranges.split()]
    return tuple(area for first, last in ends for area in range(int(first), int(last) + 1))


STATES: dict[str, State] = {
    name.casefold(): State(_areas(areas), tuple(codes.split()))
    for short, long, areas, codes in (line.split("|") for line in _TABLE.split("\n") if line)
    for name in (short, long)
}
"""States by two-letter abbreviation and by name, both casefolded."""
