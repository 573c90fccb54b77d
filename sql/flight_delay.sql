-- Will a flight from New York arrive more than 15 minutes late? From what is known before it leaves: the timetable,
-- the aircraft, the airline, and the weather at its airport.
--
-- The table tells the real departure on the local clock (hhmm) and the delay; their difference is the scheduled one.
-- A cancelled flight has neither, so it stands at the midnight of its day, without a schedule, weather or label.
WITH timetable AS (
  SELECT *, (dep_time / 100 * 60 + dep_time % 100 - dep_delay + 2880) % 1440 AS scheduled_minute
  FROM flights
  WHERE make_date(year, month, day) >= CAST($interval_start - INTERVAL '1 day' AS DATE)
    AND make_date(year, month, day) <= CAST($interval_end AS DATE)
),
departures AS (
  SELECT *,
    -- From the local clock to UTC.
    arrow_cast(
      arrow_cast(
        to_timestamp_seconds(extract(epoch FROM make_date(year, month, day)) + coalesce(scheduled_minute, 0) * 60),
        'Timestamp(Microsecond, None)'
      ) AT TIME ZONE 'America/New_York',
      'Timestamp(Microsecond, Some("UTC"))'
    ) AS departure
  FROM timetable
)
SELECT
  f.flight_id, f.departure,
  CASE WHEN f.arr_delay > 15 THEN 1 WHEN f.arr_delay <= 15 THEN 0 END AS is_late,
  f.carrier, f.origin, f.dest, f.distance, f.month,
  extract(isodow FROM make_date(f.year, f.month, f.day)) AS weekday,
  f.scheduled_minute / 60 AS scheduled_hour,
  a.name LIKE '%Express%' OR a.name LIKE 'Endeavor%' OR a.name LIKE 'SkyWest%' OR a.name LIKE 'Mesa%'
    OR a.name LIKE 'Envoy%' AS is_regional,
  f.year - p.year AS plane_age, p.manufacturer, p.engine, p.seats,
  w.temp, w.dewp, w.humid, w.wind_dir,
  -- A broken gauge once told more than 1,000 miles an hour.
  CASE WHEN w.wind_speed < 200 THEN w.wind_speed END AS wind_speed,
  w.wind_gust, w.precip, w.pressure, w.visib
FROM departures f
LEFT JOIN planes p ON p.tailnum = f.tailnum
LEFT JOIN airlines a ON a.carrier = f.carrier
-- The hour before: that of the departure itself is not over when the flight leaves.
LEFT JOIN weather w
  ON w.origin = f.origin
  AND w.time_hour = date_trunc('hour', f.departure) - INTERVAL '1 hour'
  AND f.scheduled_minute IS NOT NULL
WHERE f.departure >= $interval_start AND f.departure < $interval_end
