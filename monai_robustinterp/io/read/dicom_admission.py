"""The question whether a DICOM image is a chest radiograph from the front, for presentation.

Free text of a header may name the patient, so a sentence repeats a value only if it is a term of the standard.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from pydicom.dataset import Dataset

from monai_robustinterp.io.read.dicom_header import items, shown_term, text

MODALITIES = ("CR", "DX", "RG")
CAPTURE_MODALITIES = (*MODALITIES, "OT", "SC")
_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture and its multi-frame kinds


def _terms(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


# PS3.3 C.7.3.1.1.1, those of images and the retired ones that archives still hold.
_MODALITY_TERMS = _terms(
    "AR BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DX ECG ENDO EPS ES FID GM HC HD IO IOL IVOCT IVUS KER KO LEN LS M3D MG "
    "MR NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN PR PT PX REG RESP RF RG RTDOSE RTIMAGE RTPLAN "
    "RTRECORD RTSTRUCT RWV SC SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA XAPROTOCOL XC"
)
# PS3.16 Annex L.
_BODY_PART_TERMS = _terms(
    "ABDOMEN ABDOMENPELVIS ADRENAL ANKLE AORTA ARM AXILLA BACK BLADDER BRAIN BREAST BRONCHUS BUTTOCK CALCANEUS CALF "
    "CAROTID CEREBELLUM CERVIX CHEEK CHEST CHESTABDOMEN CHESTABDPELVIS CIRCLEOFWILLIS CLAVICLE COCCYX COLON CORNEA "
    "CORONARYARTERY CSPINE CTSPINE DUODENUM EAR ELBOW ESOPHAGUS EXTREMITY EYE EYELID FACE FEMUR FINGER FOOT "
    "GALLBLADDER HAND HEAD HEADNECK HEART HIP HUMERUS IAC ILEUM ILIUM JAW JEJUNUM KIDNEY KNEE LARYNX LEG LIVER LSPINE "
    "LSSPINE LUNG MAXILLA MEDIASTINUM MOUTH NECK NECKCHEST NECKCHESTABDOMEN NECKCHESTABDPELV NOSE ORBIT OVARY PANCREAS "
    "PAROTID PATELLA PELVIS PENIS PHARYNX PROSTATE RECTUM RIB SCALP SCLERA SCROTUM SHOULDER SKULL SPINE SPLEEN SSPINE "
    "STERNUM STOMACH SUBMANDIBULAR TESTIS THIGH THUMB THYMUS THYROID TLSPINE TMJ TOE TONGUE TRACHEA TSPINE URETER "
    "URETHRA UTERUS VAGINA VULVA WHOLEBODY WRIST ZYGOMA"
)
_CHEST = re.compile(r"CHEST|THORAX|TORAX|TORACE|POITRINE|BRUSTKORB|\b(LUNGS?|RIBS?|STERNUM|MEDIASTINUM|CXR)\b")
_NOT_CHEST = re.compile(r"SPINE|VERTEB")
# SNOMED CT, and its older codes (SRT): thorax, with neck, abdomen and pelvis, lungs, ribs, sternum, mediastinum.
_CHEST_CODES = _terms(
    "51185008 302551006 43799004 78904004 816094009 416550000 416775004 417437006 416152001 416319003 39607008 "
    "113197003 56873002 72410000 T-D3000 T-D3050 R-FAB55 R-FAB56 T-28000 T-11300 T-11210 T-D3300"
)
_FRONTAL = ("AP", "PA")
_OTHER_VIEWS = {
    "LL": "lateral",
    "RL": "lateral",
    "LLD": "decubitus",
    "RLD": "decubitus",
    "LLO": "oblique",
    "RLO": "oblique",
}
_LATERAL_WORDS = re.compile(r"\b(L?LAT|R?LAT|LATERAL|LATERALE|LATERALIS|PROFIL|PERFIL|SEITLICH)\b")
# Lateral, left and right lateral, the last two with their older codes.
_LATERAL_CODES = _terms("399067008 399173006 399198007 R-10236 R-10232")
_CONVERSIONS = {"DRW": "a drawing", "DV": "digitized video", "SD": "a scanned document", "SI": "a scanned image"}


def body_part(dataset: Dataset) -> str:
    """BodyPartExamined as a term of the standard: other names of the chest are CHEST; "" if it is no such name."""
    stated = _plain(text(dataset, "BodyPartExamined"))
    if stated in _BODY_PART_TERMS:
        return stated
    return "CHEST" if _CHEST.search(stated) and not _NOT_CHEST.search(stated) else ""


def view_position(dataset: Dataset) -> str:
    """ViewPosition as a term of the standard for radiographs (PS3.3 C.8.1.3); "" if it is none of them."""
    stated = _plain(text(dataset, "ViewPosition"))
    return stated if stated in (*_FRONTAL, *_OTHER_VIEWS) else ""


def admission_concerns(dataset: Dataset) -> list[str]:
    """Why this may be no frontal chest radiograph for presentation: one sentence each.

    Modality CR, DX and RG are radiographs. A Secondary Capture may also say OT or SC, as film digitizers do. A missing
    body part or view is no concern, since many archives leave them out.
    """
    concerns = []
    modality, captured = text(dataset, "Modality"), text(dataset, "SOPClassUID").startswith(_CAPTURES)
    if modality not in (CAPTURE_MODALITIES if captured else MODALITIES):
        concerns.append(
            f"Modality is {shown_term(modality, _MODALITY_TERMS)}; radiographs have {', '.join(MODALITIES)} "
            "(Secondary Capture: also OT, SC)"
        )
    concerns += filter(None, (_body_part_concern(dataset), view_concern(dataset)))
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        concerns.append("PresentationIntentType is FOR PROCESSING; the networks are for images for presentation")
    conversion = text(dataset, "ConversionType")
    if conversion in _CONVERSIONS:
        concerns.append(f"ConversionType is {conversion} ({_CONVERSIONS[conversion]}), which is no radiograph")
    return concerns


def display_oddities(dataset: Dataset) -> list[str]:
    """What a network may not expect of a chest radiograph: one sentence each."""
    oddities = []
    if text(dataset, "ConversionType") == "DF":
        oddities.append("ConversionType is DF: a digitized film may have marks, borders and another gray scale")
    directions = [value[:1] for value in text(dataset, "PatientOrientation").split("\\")]
    if len(directions) == 2 and set(directions) <= set("LRHF") and directions != ["L", "F"]:
        turned = set(directions) & set("LR") and directions[0] in "HF"
        kind = "turned by a quarter" if turned else "mirrored or turned by a half"
        oddities.append(
            f"PatientOrientation says that rows run to {directions[0]} and columns to {directions[1]}: the image is "
            f"{kind} against the usual L and F; it is read as it is stored"
        )
    return oddities


@dataclass(frozen=True)
class View:
    """What a header says of the view.

    Attributes:
        name: in words that name no patient; empty if nothing is said.
        by: attribute that decides; empty if none does.
        other: whether it is none from the front or the back.
    """

    name: str = ""
    by: str = ""
    other: bool = False

    def __str__(self) -> str:
        return f"{self.name} by {self.by}" if self.by else "not stated"


def stated_view(dataset: Dataset) -> View:
    """The view position decides; where it says nothing known, the code of the view, then the patient's orientation."""
    stated = _plain(text(dataset, "ViewPosition"))
    frontal = [word for word in stated.split() if word in _FRONTAL]
    if stated in _OTHER_VIEWS:
        return View(f"{stated} ({_OTHER_VIEWS[stated]})", "ViewPosition", other=True)
    if _LATERAL_WORDS.search(stated):
        return View("lateral", "ViewPosition", other=True)
    if frontal:
        return View(frontal[0], "ViewPosition")
    codes = {text(item, "CodeValue") for item in items(dataset, "ViewCodeSequence")[:1]} - {""}
    if codes & _LATERAL_CODES:
        return View("lateral", "ViewCodeSequence", other=True)
    direction = text(dataset, "PatientOrientation")[:1]
    if stated or codes or direction not in tuple("APLR"):
        # A word or code that is not known may be of any view: it is no reason to leave the film out, nor to take it.
        return View()
    lateral = direction in ("A", "P")
    return View("lateral" if lateral else "from the front or the back", "PatientOrientation", other=lateral)


def view_concern(dataset: Dataset) -> str:
    """Why the view is none from the front or the back; "" if nothing says so."""
    view = stated_view(dataset)
    return f"{view.by} is {view.name}; the networks are for views from the front or the back" if view.other else ""


def _body_part_concern(dataset: Dataset) -> str:
    stated, known = text(dataset, "BodyPartExamined"), body_part(dataset)
    codes = [text(item, "CodeValue") for item in items(dataset, "AnatomicRegionSequence")[:1]]
    if codes and codes[0] and codes[0] not in _CHEST_CODES:
        return "AnatomicRegionSequence has no code of the chest; the networks are for the chest"
    if stated and not (known and _CHEST.search(known)) and not (codes and codes[0] and not known):
        return f"BodyPartExamined is {known or 'not a term of the standard'}; the networks are for the chest"
    return ""


def _plain(stated: str) -> str:
    """Upper case without accents, with spaces between words."""
    letters = "".join(c for c in unicodedata.normalize("NFKD", stated) if not unicodedata.combining(c))
    return re.sub(r"[^A-Z]+", " ", letters.upper()).strip()
