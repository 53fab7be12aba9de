#!/usr/bin/env bash
# Models like `place-16` and `place-64`: extracts to stores, tiles with targets, one training, figures.
#
#   OSM=extracts OUT=build/place bash docs/make/place.sh
#   OSM=extracts OUT=build/place DEVICE=cuda LOCATIONS=80000 STEPS=3000 PLACES=1024 bash docs/make/place.sh
#
# Every step resumes: the same command goes on after it was stopped. The extracts in UNSEEN are
# neither tiled nor counted for training; the model is measured on them. On a GPU the tests that need
# one, and the speed of training, come last.
set -euo pipefail

PYTHON=${PYTHON:-python}
OSM=${OSM:?the folder of extracts, NAME.osm.pbf}
OUT=${OUT:-build/place}
DEVICE=${DEVICE:-auto}
WORKERS=${WORKERS:-$(nproc)}
LOCATIONS=${LOCATIONS:-60000}
STEPS=${STEPS:-8000}
PLACES=${PLACES:-64}
UNSEEN=${UNSEEN:-"newport_gb aalborg_dk belize nimba_west_africa anhui_henan_cn timor_west"}
SEARCHED=${SEARCHED:-newport_gb}  # the town in which places are searched while training
PER_CLASS=${PER_CLASS:-400}

loc2vec() { "$PYTHON" -m loc2vec "$@"; }
unseen() { [[ " $UNSEEN " == *" $1 "* ]]; }

mkdir -p "$OUT/stores"
export PYTHON OUT
find "$OSM" -name '*.osm.pbf' | sort | xargs -P "$WORKERS" -I FILE bash -c '
  "$PYTHON" -m loc2vec import FILE --store "$OUT/stores/$(basename FILE .osm.pbf).gpkg" --if-changed'

stores=() counted=() held_out=()
for extract in "$OSM"/*.osm.pbf; do
  name=$(basename "$extract" .osm.pbf)
  if unseen "$name"; then
    held_out+=("$extract")
  else
    stores+=(--store "$OUT/stores/$name.gpkg")
    counted+=(--targets "$extract")
  fi
done

loc2vec tile --store "$OUT/stores/$SEARCHED.gpkg" --out "$OUT/validation" --radii 100,400 \
  --locations 1200 --positives 2 --seed 1 --workers "$WORKERS"
loc2vec tile "${stores[@]}" "${counted[@]}" --out "$OUT/tiles" --radii 100,400 --locations "$LOCATIONS" \
  --positives 2 --close-positives 1 --seed 11 --workers "$WORKERS"

resume=()
[ -e "$OUT/place-64" ] && resume=(--resume)
loc2vec train --tiles "$OUT/tiles" --validation "$OUT/validation" --out "$OUT/place-64" --device "$DEVICE" \
  --encoder multiscale --dim 64 --nested 16 --option dropout=0.3 --init inception-16-nce \
  --loss nce --projector --head tags=3 --head cover=2 --channel-dropout 0.15 --mirrored \
  --places "$PLACES" --pairs 1 --steps "$STEPS" --seed 41 "${resume[@]}"
"$PYTHON" docs/make/first_numbers.py --model "$OUT/place-64/best" --numbers 16 --out "$OUT/place-16"

loc2vec import "${held_out[@]}" --store "$OUT/unseen.gpkg" --if-changed
loc2vec evaluate "${held_out[@]}" --store "$OUT/unseen.gpkg" --model "$OUT/place-16" \
  --model "$OUT/place-64/best" --model inception-16-nce --model loc2vec-16 \
  --per-class "$PER_CLASS" --out "$OUT/evaluation" --workers "$WORKERS"

if [ "$DEVICE" = cuda ]; then
  loc2vec tile --store "$OUT/stores/$SEARCHED.gpkg" --out "$OUT/speed" \
    --locations 1200 --positives 5 --workers "$WORKERS"
  "$PYTHON" benchmarks/train.py --tiles "$OUT/speed" --device cuda --compiled | tee "$OUT/speed.txt"
  "$PYTHON" -m pytest -m gpu tests | tee "$OUT/gpu-tests.txt"
fi
